// swift-tools-version: 6.0
import PackageDescription

// SAM_WITHOUT_MLX=1: only what is plain Swift, for machines that cannot get or build MLX.
// MLX_SWIFT=folder: mlx-swift as it lies there, instead of the released one.
let withMLX = Context.environment["SAM_WITHOUT_MLX"] != "1"
let mlxFolder = Context.environment["MLX_SWIFT"]

let package = Package(
    name: "SegmentAnything",
    platforms: [.macOS(.v14), .iOS(.v17)],
    products: [
        .library(name: "SegmentAnythingImaging", targets: ["SegmentAnythingImaging"]),
        .library(name: "DemoModel", targets: ["DemoModel"]),
    ],
    targets: [
        .target(name: "SegmentAnythingImaging"),
        .target(name: "DemoModel", dependencies: ["SegmentAnythingImaging"]),
        .testTarget(name: "ImagingTests", dependencies: ["SegmentAnythingImaging"]),
        .testTarget(name: "DemoModelTests", dependencies: ["DemoModel"]),
    ],
    swiftLanguageModes: [.v6]
)

if withMLX {
    package.dependencies = [
        // Files of `sam-mlx export` suit one MLX only: README says which release contains which.
        mlxFolder.map { .package(name: "mlx-swift", path: $0) }
            ?? .package(url: "https://github.com/ml-explore/mlx-swift", exact: "0.31.6")
    ]
    package.products += [
        .library(name: "SegmentAnything", targets: ["SegmentAnything"]),
        .executable(name: "segment", targets: ["segment"]),
    ]
    package.targets += [
        .target(
            name: "SegmentAnything",
            dependencies: [
                "SegmentAnythingImaging", .product(name: "MLX", package: "mlx-swift"),
            ]
        ),
        .executableTarget(name: "segment", dependencies: ["SegmentAnything"]),
        .testTarget(name: "SegmentAnythingTests", dependencies: ["SegmentAnything"]),
    ]
}
