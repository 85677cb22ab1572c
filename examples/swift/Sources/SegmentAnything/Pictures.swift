#if canImport(CoreGraphics) && canImport(ImageIO)
    import CoreGraphics
    import Foundation
    import ImageIO
    import SegmentAnythingImaging

    extension RGBImage {
        /// The picture's pixels in sRGB. Transparent pixels are drawn on black.
        ///
        /// Throws a ``SegmentationError`` for a picture that does not fit into memory.
        public init(_ image: CGImage) throws {
            let (width, height) = (image.width, image.height)
            let count = try Self.byteCount(width: width, height: height, channels: 4)
            var rgba = [UInt8](repeating: 0, count: count)
            let isDrawn = rgba.withUnsafeMutableBytes { buffer in
                guard
                    let space = CGColorSpace(name: CGColorSpace.sRGB),
                    let context = CGContext(
                        data: buffer.baseAddress, width: width, height: height,
                        bitsPerComponent: 8, bytesPerRow: width * 4, space: space,
                        bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)
                else { return false }
                context.draw(image, in: CGRect(x: 0, y: 0, width: width, height: height))
                return true
            }
            guard isDrawn else {
                throw SegmentationError.pictureSize(width: width, height: height)
            }
            try self.init(
                bytes: rgba, width: width, height: height, rowStride: width * 4, channels: 4)
        }

        /// The first picture of a file that the system can read, turned according to its EXIF
        /// orientation.
        ///
        /// Throws a ``SegmentationError``.
        public init(contentsOf url: URL) throws {
            guard FileManager.default.fileExists(atPath: url.path) else {
                throw SegmentationError.fileMissing(url.path)
            }
            guard let source = CGImageSourceCreateWithURL(url as CFURL, nil),
                let values = CGImageSourceCopyPropertiesAtIndex(source, 0, nil) as? [CFString: Any],
                let width = values[kCGImagePropertyPixelWidth] as? Int,
                let height = values[kCGImagePropertyPixelHeight] as? Int
            else { throw SegmentationError.malformedPicture(reason: "its format is unknown") }
            // ImageIO applies the orientation only to thumbnails; this one has full size.
            let options: [CFString: Any] = [
                kCGImageSourceCreateThumbnailFromImageAlways: true,
                kCGImageSourceCreateThumbnailWithTransform: true,
                kCGImageSourceThumbnailMaxPixelSize: max(width, height),
            ]
            guard
                let image = CGImageSourceCreateThumbnailAtIndex(source, 0, options as CFDictionary)
            else { throw SegmentationError.malformedPicture(reason: "it is damaged") }
            try self.init(image)
        }
    }

    extension Segmenter {
        /// Encodes a picture; see ``setImage(_:)-(RGBImage)``.
        public func setImage(_ image: CGImage) throws {
            try setImage(RGBImage(image))
        }

        /// Encodes a picture file that the system can read, turned according to its EXIF orientation.
        public func setImage(contentsOf url: URL) throws {
            try setImage(RGBImage(contentsOf: url))
        }
    }
#endif
