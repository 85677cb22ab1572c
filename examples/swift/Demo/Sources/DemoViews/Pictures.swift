import CoreGraphics
import DemoModel
import Foundation
import ImageIO
import SegmentAnything

/// Conversions between the pictures of the system and those of the package.
enum Pictures {
    /// The pixels of a picture file in sRGB, turned upright according to its EXIF orientation.
    static func decode(_ data: Data) throws -> RGBImage {
        let options =
            [
                kCGImageSourceCreateThumbnailFromImageAlways: true,
                kCGImageSourceCreateThumbnailWithTransform: true,
                // More pixels than a screen or the model needs would only take memory.
                kCGImageSourceThumbnailMaxPixelSize: 4096,
            ] as CFDictionary
        guard let source = CGImageSourceCreateWithData(data as CFData, nil),
            let image = CGImageSourceCreateThumbnailAtIndex(source, 0, options)
        else { throw SegmentationError.malformedPicture(reason: "the system cannot decode it") }
        return try RGBImage(image)
    }

    static func image(_ picture: RGBImage) -> CGImage? {
        image(
            Data(picture.bytes), width: picture.width, height: picture.height, channels: 3,
            alpha: .none)
    }

    static func image(_ layer: Layer) -> CGImage? {
        image(
            Data(layer.rgba), width: layer.width, height: layer.height, channels: 4,
            alpha: .premultipliedLast)
    }

    private static func image(
        _ data: Data, width: Int, height: Int, channels: Int, alpha: CGImageAlphaInfo
    ) -> CGImage? {
        guard let provider = CGDataProvider(data: data as CFData) else { return nil }
        return CGImage(
            width: width, height: height, bitsPerComponent: 8, bitsPerPixel: 8 * channels,
            bytesPerRow: width * channels, space: CGColorSpace(name: CGColorSpace.sRGB)!,
            bitmapInfo: CGBitmapInfo(rawValue: alpha.rawValue), provider: provider, decode: nil,
            shouldInterpolate: true, intent: .defaultIntent)
    }
}
