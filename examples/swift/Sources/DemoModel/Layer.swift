import Foundation
import SegmentAnythingImaging

/// Pixels with alpha, to be drawn or saved. Any thread may use it.
public struct Layer: Sendable, Equatable {
    /// Red, green, blue and alpha, row by row, premultiplied.
    public let rgba: [UInt8]
    /// The width in pixels.
    public let width: Int
    /// The height in pixels.
    public let height: Int

    /// The object alone, cropped to its bounds and transparent where the mask is not set. `nil` for
    /// an empty mask. Alpha is 0 or 255, so premultiplied colours equal plain ones, and transparent
    /// pixels contain nothing of the picture.
    public static func cutOut(of picture: RGBImage, mask: Mask) -> Layer? {
        precondition(picture.width == mask.width && picture.height == mask.height)
        guard let bounds = mask.bounds else { return nil }
        let (x0, y0, x1, y1) = (Int(bounds.x0), Int(bounds.y0), Int(bounds.x1), Int(bounds.y1))
        var rgba: [UInt8] = []
        rgba.reserveCapacity((x1 - x0 + 1) * (y1 - y0 + 1) * 4)
        for y in y0...y1 {
            for i in y * mask.width + x0...y * mask.width + x1 {
                rgba += mask.bits[i] ? picture.bytes[3 * i..<3 * i + 3] + [255] : [0, 0, 0, 0]
            }
        }
        return Layer(rgba: rgba, width: x1 - x0 + 1, height: y1 - y0 + 1)
    }

    /// The mask in a colour (red, green, blue) at half opacity, to be drawn over the picture.
    public static func light(_ mask: Mask, colour: [UInt8] = [30, 144, 255]) -> Layer {
        let lit = colour.map { UInt8((Int($0) * 128 + 127) / 255) } + [128]
        let rgba = mask.bits.flatMap { $0 ? lit : [0, 0, 0, 0] }
        return Layer(rgba: rgba, width: mask.width, height: mask.height)
    }

    /// The contents of a PNG file, whose colours are not premultiplied.
    public var png: Data {
        var plain = rgba
        for i in stride(from: 0, to: plain.count, by: 4) where (1..<255).contains(plain[i + 3]) {
            let alpha = Int(plain[i + 3])
            for c in i..<i + 3 {
                plain[c] = UInt8(min((Int(plain[c]) * 255 + alpha / 2) / alpha, 255))
            }
        }
        return PNG.data(rgba: plain, width: width, height: height)
    }
}
