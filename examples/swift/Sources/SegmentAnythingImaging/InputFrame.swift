/// A picture in the frame of the model: in the upper left corner of the encoder's square, scaled so
/// that its longer side fills it. Any thread may use it.
public struct InputFrame: Sendable, Equatable {
    /// The width of the original picture, in pixels.
    public let originalWidth: Int
    /// The height of the original picture, in pixels.
    public let originalHeight: Int
    /// The width of the resized picture, in pixels.
    public let width: Int
    /// The height of the resized picture, in pixels.
    public let height: Int
    /// The side of the encoder's square, in pixels.
    public let side: Int

    /// The frame of a picture of `width` by `height` pixels for an encoder that sees `side` by
    /// `side` pixels. A side that would vanish keeps one pixel.
    ///
    /// Throws ``SegmentationError/pictureSize(width:height:)``.
    public init(width: Int, height: Int, side: Int) throws {
        _ = try RGBImage.byteCount(width: width, height: height, channels: 4)
        // In the same order as SAM: the quotient is rounded, then multiplied.
        let scale = Double(side) / Double(max(width, height))
        (originalWidth, originalHeight, self.side) = (width, height, side)
        self.width = max(1, Int(Double(width) * scale + 0.5))
        self.height = max(1, Int(Double(height) * scale + 0.5))
    }

    /// The coordinates, in the frame, of a point of the original picture, as the decoder takes them.
    public func map(x: Double, y: Double) -> (x: Float, y: Float) {
        (
            Float(x * (Double(width) / Double(originalWidth))),
            Float(y * (Double(height) / Double(originalHeight)))
        )
    }

    /// Coordinates (x, y, x, y, ...) and labels of a prompt in `slots` slots of the decoder. Labels
    /// are 1 on the object, 0 elsewhere, 2 and 3 for a box's corners, and -1 for an empty slot.
    ///
    /// Throws a ``SegmentationError`` if coordinates are out of range or do not fit into the slots.
    public func slots(points: [PixelPoint], box: PixelBox?, slots: Int) throws
        -> (coordinates: [Float], labels: [Int32])
    {
        for point in points { try point.check() }
        try box?.check()
        var prompts = points.map { ($0.x, $0.y, Int32($0.isObject ? 1 : 0)) }
        if let box { prompts += [(box.x0, box.y0, 2), (box.x1, box.y1, 3)] }
        guard prompts.count <= slots else {
            throw SegmentationError.tooManyPoints(prompts.count, slots: slots)
        }
        var coordinates: [Float] = []
        for (x, y, _) in prompts {
            let place = map(x: x, y: y)
            coordinates += [place.x, place.y]
        }
        let empty = slots - prompts.count
        return (
            coordinates + [Float](repeating: 0, count: 2 * empty),
            prompts.map(\.2) + [Int32](repeating: -1, count: empty)
        )
    }

    /// The picture resized to the frame and padded with zeros to the encoder's square: RGB,
    /// `side * side * 3` bytes. The picture must have the original size.
    public func square(_ image: RGBImage) -> [UInt8] {
        precondition(
            image.width == originalWidth && image.height == originalHeight, "another picture's")
        let resized = image.resized(width: width, height: height)
        var square = [UInt8](repeating: 0, count: side * side * 3)
        for y in 0..<height {
            let row = resized.bytes[y * width * 3..<(y + 1) * width * 3]
            square.replaceSubrange(y * side * 3..<y * side * 3 + width * 3, with: row)
        }
        return square
    }
}
