import CoreGraphics
import DemoModel
import Foundation
import ImageIO
import SegmentAnything

/// Between the system's pictures and the package's.
enum Pictures {
    /// Pixels of a picture file upright, as its EXIF orientation says, in sRGB.
    static func decode(_ data: Data) throws -> RGBImage {
        let options =
            [
                kCGImageSourceCreateThumbnailFromImageAlways: true,
                kCGImageSourceCreateThumbnailWithTransform: true,
                // More than a screen or the model shows is memory without use.
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
