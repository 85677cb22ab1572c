// swift-tools-version: 6.0
import PackageDescription

// The app's views, and the app for Macs: open this folder in Xcode and run the scheme "Demo".
// SegmentDemo.swiftpm is the app for iPhone and iPad.
let infoPlist = Context.packageDirectory + "/Sources/Demo/Info.plist"

let package = Package(
    name: "Demo",
    platforms: [.macOS(.v14), .iOS(.v17)],
    products: [
        .library(name: "DemoViews", targets: ["DemoViews"])
    ],
    dependencies: [.package(name: "SegmentAnything", path: "../../..")],
    targets: [
        .target(
            name: "DemoViews",
            dependencies: [
                .product(name: "DemoModel", package: "SegmentAnything"),
                .product(name: "SegmentAnything", package: "SegmentAnything"),
            ]
        ),
        .executableTarget(
            name: "Demo",
            dependencies: ["DemoViews"],
            exclude: ["Info.plist"],
            // The photo picker needs the app's identifier, so the property list of a program without
            // a bundle is linked into it.
            linkerSettings: [
                .unsafeFlags(
                    ["-sectcreate", "__TEXT", "__info_plist", infoPlist].flatMap {
                        ["-Xlinker", $0]
                    },
                    .when(platforms: [.macOS])
                )
            ]
        ),
    ],
    swiftLanguageModes: [.v6]
)
