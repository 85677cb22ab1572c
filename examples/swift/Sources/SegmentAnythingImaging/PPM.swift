import Foundation

extension RGBImage {
    /// Reads a binary PPM (P6) of 8 bits.
    ///
    /// Throws ``SegmentationError/malformedPicture(reason:)`` or
    /// ``SegmentationError/pictureSize(width:height:)``.
    public init(ppm data: Data) throws {
        var header = Header(bytes: [UInt8](data))
        guard header.word() == "P6" else { throw malformed("it does not begin with P6") }
        let (width, height, largest) = (header.number(), header.number(), header.number())
        guard let width, let height, let largest else { throw malformed("its header is cut short") }
        guard largest == 255 else { throw malformed("its values go to \(largest), not 255") }
        let count = try Self.byteCount(width: width, height: height, channels: 3)
        let start = header.place + 1  // one whitespace character ends the header
        guard header.bytes.count - start >= count else {
            throw malformed("it has \(max(header.bytes.count - start, 0)) of \(count) bytes")
        }
        self.init(
            packed: Array(header.bytes[start..<start + count]), width: width, height: height)
    }

    /// Reads a PPM file.
    ///
    /// Throws what ``init(ppm:)`` throws, ``SegmentationError/fileMissing(_:)`` or
    /// ``SegmentationError/fileUnreadable(_:reason:)``.
    public init(ppmFile url: URL) throws {
        try self.init(ppm: readFile(url))
    }

    /// The picture as binary PPM (P6).
    public var ppm: Data {
        Data("P6\n\(width) \(height)\n255\n".utf8) + Data(bytes)
    }
}

private func malformed(_ reason: String) -> SegmentationError {
    .malformedPicture(reason: reason)
}

/// The words of a PPM's header, which whitespace and comments separate.
private struct Header {
    let bytes: [UInt8]
    var place = 0

    mutating func word() -> String {
        while place < bytes.count, isSpace(bytes[place]) || bytes[place] == UInt8(ascii: "#") {
            if bytes[place] == UInt8(ascii: "#") {
                place = bytes[place...].firstIndex(of: UInt8(ascii: "\n")) ?? bytes.count
            } else {
                place += 1
            }
        }
        let start = place
        while place < bytes.count, !isSpace(bytes[place]) { place += 1 }
        return String(decoding: bytes[start..<place], as: UTF8.self)
    }

    mutating func number() -> Int? { Int(word()) }

    private func isSpace(_ byte: UInt8) -> Bool { byte == 32 || (9...13).contains(byte) }
}
