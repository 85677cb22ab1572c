/// A picture as RGB bytes, row by row without gaps. Any thread may use it.
public struct RGBImage: Sendable, Equatable {
    /// `width * height * 3` bytes: red, green and blue, row by row from the upper left.
    public let bytes: [UInt8]
    /// The width in pixels, 1 or more.
    public let width: Int
    /// The height in pixels, 1 or more.
    public let height: Int

    /// A copy of the pixels of a camera or a decoder.
    ///
    /// `rowStride`: bytes from one row to the next; `nil` means `width * channels`.
    /// `channels`: 3 for RGB, 4 for RGB and a fourth one that is ignored.
    ///
    /// Throws a ``SegmentationError`` if the size is 0 or too large to count, if the stride is too
    /// small, or if there are too few bytes.
    public init(
        bytes: [UInt8], width: Int, height: Int, rowStride: Int? = nil, channels: Int = 3
    ) throws {
        self = try bytes.withUnsafeBytes {
            try RGBImage(
                buffer: $0, width: width, height: height, rowStride: rowStride, channels: channels)
        }
    }

    /// The same, copied from memory with another owner, such as a pixel buffer.
    public init(
        buffer: UnsafeRawBufferPointer, width: Int, height: Int, rowStride: Int? = nil,
        channels: Int = 3
    ) throws {
        guard channels == 3 || channels == 4 else {
            throw SegmentationError.pictureChannels(channels)
        }
        let row = try Self.byteCount(width: width, height: height, channels: channels) / height
        let stride = rowStride ?? row
        guard stride >= row else { throw SegmentationError.rowStride(stride, least: row) }
        let (gaps, overflow) = (height - 1).multipliedReportingOverflow(by: stride)
        guard !overflow, gaps <= Int.max - row else {
            throw SegmentationError.pictureSize(width: width, height: height)
        }
        guard buffer.count >= gaps + row else {
            throw SegmentationError.pictureBytes(buffer.count, needed: gaps + row)
        }
        (self.width, self.height) = (width, height)
        bytes = Self.packed(buffer, width, height, stride, channels)
    }

    /// A picture of bytes that are known to have the right number.
    init(packed bytes: [UInt8], width: Int, height: Int) {
        assert(bytes.count == width * height * 3)
        (self.bytes, self.width, self.height) = (bytes, width, height)
    }

    /// The number of bytes of a picture. Throws ``SegmentationError/pictureSize(width:height:)`` if
    /// that is 0 or too large to count.
    package static func byteCount(width: Int, height: Int, channels: Int) throws -> Int {
        let (pixels, overflow) = width.multipliedReportingOverflow(by: height)
        // Half of the largest integer leaves room for the sum of two pictures.
        guard width > 0, height > 0, !overflow, pixels < Int.max / 2 / channels else {
            throw SegmentationError.pictureSize(width: width, height: height)
        }
        return pixels * channels
    }

    private static func packed(
        _ buffer: UnsafeRawBufferPointer, _ width: Int, _ height: Int, _ stride: Int,
        _ channels: Int
    ) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: width * height * 3) { out, count in
            for y in 0..<height {
                for x in 0..<width {
                    for c in 0..<3 {
                        out[(y * width + x) * 3 + c] = buffer[y * stride + x * channels + c]
                    }
                }
            }
            count = width * height * 3
        }
    }
}
