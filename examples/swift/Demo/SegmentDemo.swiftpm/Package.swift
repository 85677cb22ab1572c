// swift-tools-version: 6.0
import AppleProductTypes
import PackageDescription

// The app for iPhone and iPad: open this package in Xcode, choose your team, and run on a device.
let package = Package(
    name: "SegmentDemo",
    platforms: [.iOS("17.0")],
    products: [
        .iOSApplication(
            name: "SegmentDemo",
            targets: ["SegmentDemo"],
            bundleIdentifier: "org.sam-mlx.demo",
            displayVersion: "1.0",
            bundleVersion: "1",
            appIcon: .placeholder(icon: .images),
            accentColor: .presetColor(.blue),
            supportedDeviceFamilies: [.pad, .phone],
            supportedInterfaceOrientations: [
                .portrait, .landscapeLeft, .landscapeRight,
                .portraitUpsideDown(.when(deviceFamilies: [.pad])),
            ]
        )
    ],
    dependencies: [.package(name: "Demo", path: "..")],
    targets: [
        .executableTarget(
            name: "SegmentDemo",
            dependencies: [.product(name: "DemoViews", package: "Demo")],
            path: "Sources"
        )
    ],
    swiftLanguageModes: [.v6]
)
