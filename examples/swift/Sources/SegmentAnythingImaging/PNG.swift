import Foundation

/// Pictures with one value (gray) or four (RGBA, not premultiplied) per pixel, as PNG. The pixels are
/// stored without compression, which is simple, and which any reader can read.
public enum PNG {
    /// A mask in black and white.
    public static func data(_ mask: Mask) -> Data {
        data(mask.bits.map { $0 ? 255 : 0 }, width: mask.width, height: mask.height, channels: 1)
    }

    /// Red, green, blue and alpha of every pixel, row by row: `width * height * 4` bytes.
    public static func data(rgba: [UInt8], width: Int, height: Int) -> Data {
        data(rgba, width: width, height: height, channels: 4)
    }

    private static func data(_ bytes: [UInt8], width: Int, height: Int, channels: Int) -> Data {
        precondition(bytes.count == width * height * channels, "a picture has all its bytes")
        let colour: UInt8 = channels == 1 ? 0 : 6
        var png: [UInt8] = [137, 80, 78, 71, 13, 10, 26, 10]
        png += chunk("IHDR", bigEndian(width) + bigEndian(height) + [8, colour, 0, 0, 0])
        png += chunk("IDAT", stored(rows(bytes, width * channels)))
        png += chunk("IEND", [])
        return Data(png)
    }

    /// Every row, preceded by a 0 for "not filtered".
    private static func rows(_ bytes: [UInt8], _ length: Int) -> [UInt8] {
        var rows: [UInt8] = []
        rows.reserveCapacity(bytes.count + bytes.count / length)
        for start in stride(from: 0, to: bytes.count, by: length) {
            rows.append(0)
            rows += bytes[start..<start + length]
        }
        return rows
    }

    /// A zlib stream of stored blocks, of up to 65535 bytes each.
    private static func stored(_ bytes: [UInt8]) -> [UInt8] {
        var stream: [UInt8] = [0x78, 0x01]
        var (a, b): (UInt32, UInt32) = (1, 0)
        for start in stride(from: 0, to: bytes.count, by: 65535) {
            let block = bytes[start..<min(start + 65535, bytes.count)]
            let (low, high) = (UInt8(block.count & 255), UInt8(block.count >> 8))
            let isLast: UInt8 = start + block.count == bytes.count ? 1 : 0
            stream += [isLast, low, high, ~low, ~high]
            stream += block
            for byte in block {
                a = (a + UInt32(byte)) % 65521
                b = (b + a) % 65521
            }
        }
        return stream + bigEndian(Int(b << 16 | a))
    }

    private static func chunk(_ name: String, _ content: [UInt8]) -> [UInt8] {
        let named = Array(name.utf8) + content
        return bigEndian(content.count) + named + bigEndian(Int(crc(named)))
    }

    private static let crcTable = (0..<256).map { byte -> UInt32 in
        (0..<8).reduce(UInt32(byte)) { crc, _ in crc & 1 == 1 ? 0xEDB8_8320 ^ crc >> 1 : crc >> 1 }
    }

    private static func crc(_ bytes: [UInt8]) -> UInt32 {
        ~bytes.reduce(~0) { crcTable[Int(($0 ^ UInt32($1)) & 255)] ^ $0 >> 8 }
    }

    private static func bigEndian(_ number: Int) -> [UInt8] {
        stride(from: 24, through: 0, by: -8).map { UInt8(number >> $0 & 255) }
    }
}
