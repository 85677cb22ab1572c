// swift-tools-version: 6.0
import PackageDescription

// At the repository's root, because a package can be added to an app by the URL of its repository
// only from there. The sources are in examples/swift.
//
// SAM_WITHOUT_MLX=1 leaves out what needs MLX, for machines that cannot download or build it.
// MLX_SWIFT=FOLDER uses the mlx-swift in that folder instead of the released one.
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
        .target(
            name: "SegmentAnythingImaging",
            path: "examples/swift/Sources/SegmentAnythingImaging"
        ),
        .target(
            name: "DemoModel",
            dependencies: ["SegmentAnythingImaging"],
            path: "examples/swift/Sources/DemoModel"
        ),
        .testTarget(
            name: "ImagingTests",
            dependencies: ["SegmentAnythingImaging"],
            path: "examples/swift/Tests/ImagingTests"
        ),
        .testTarget(
            name: "DemoModelTests",
            dependencies: ["DemoModel"],
            path: "examples/swift/Tests/DemoModelTests"
        ),
        // The README's blocks, which are compiled and never run. SwiftPM's own snippets would have
        // to lie at the root.
        .target(
            name: "ReadmeSnippets",
            dependencies: ["DemoModel", "SegmentAnythingImaging"]
                + (withMLX ? ["SegmentAnything"] : []),
            path: "examples/swift/Snippets"
        ),
    ],
    swiftLanguageModes: [.v6]
)

if withMLX {
    package.dependencies = [
        // Files of `sam-mlx export` suit one MLX only: the README of examples/swift says which
        // release contains which.
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
            ],
            path: "examples/swift/Sources/SegmentAnything"
        ),
        .executableTarget(
            name: "segment",
            dependencies: ["SegmentAnything"],
            path: "examples/swift/Sources/segment"
        ),
        .testTarget(
            name: "SegmentAnythingTests",
            dependencies: ["SegmentAnything"],
            path: "examples/swift/Tests/SegmentAnythingTests"
        ),
    ]
}
