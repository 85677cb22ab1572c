/// A picture as RGB bytes, row by row without gaps. Any thread may use it.
public struct RGBImage: Sendable, Equatable {
    /// Red, green and blue of every pixel, row by row from the upper left; `width * height * 3`.
    public let bytes: [UInt8]
    /// Pixels, 1 or more.
    public let width: Int
    /// Pixels, 1 or more.
    public let height: Int

    /// A copy of pixels as a camera or a decoder has them.
    ///
    /// `rowStride`: bytes from one row to the next, `width * channels` where `nil`.
    /// `channels`: 3 for RGB, 4 for RGB and one that is left out.
    ///
    /// Throws a ``SegmentationError`` for a size of 0 or beyond what can be counted, a stride that
    /// is too small, or too few bytes.
    public init(
        bytes: [UInt8], width: Int, height: Int, rowStride: Int? = nil, channels: Int = 3
    ) throws {
        self = try bytes.withUnsafeBytes {
            try RGBImage(
                buffer: $0, width: width, height: height, rowStride: rowStride, channels: channels)
        }
    }

    /// The same from memory that another owns, as of a pixel buffer; it is copied.
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

    /// Of bytes that are known to fit.
    init(packed bytes: [UInt8], width: Int, height: Int) {
        assert(bytes.count == width * height * 3)
        (self.bytes, self.width, self.height) = (bytes, width, height)
    }

    /// Bytes of a picture; throws ``SegmentationError/pictureSize(width:height:)`` where there are
    /// none or too many to count.
    package static func byteCount(width: Int, height: Int, channels: Int) throws -> Int {
        let (pixels, overflow) = width.multipliedReportingOverflow(by: height)
        // Half of what can be counted leaves room for sums of two pictures.
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
