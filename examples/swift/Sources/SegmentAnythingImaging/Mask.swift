/// One object found in a picture, in pixels of the picture. Any thread may use it.
public struct Mask: Sendable, Equatable {
    /// `width * height` bits, row by row from the upper left corner, `true` on the object.
    public var bits: [Bool]
    /// The width in pixels.
    public var width: Int
    /// The height in pixels.
    public var height: Int
    /// The model's own estimate of the mask's IoU, roughly 0 to 1.
    public var score: Float
    /// The IoU of the masks of logits above 1 and above -1; 0 if both are empty.
    public var stability: Float
    /// The number of pixels on the object.
    public var area: Int
    /// The decoder's logits of the padded square, row by row: the `maskInput` with which to refine
    /// this mask.
    public var lowResolution: [Float]
    /// Logits at the picture's size, row by row, if they were requested; those above 0 are on the
    /// object.
    public var logits: [Float]?

    /// A mask with the given bits, whose area is counted. `bits` has `width * height` entries.
    public init(
        bits: [Bool], width: Int, height: Int, score: Float, stability: Float = 0,
        lowResolution: [Float] = [], logits: [Float]? = nil
    ) {
        precondition(bits.count == width * height, "a mask has width * height bits")
        (self.bits, self.width, self.height) = (bits, width, height)
        (self.score, self.stability) = (score, stability)
        (self.lowResolution, self.logits) = (lowResolution, logits)
        area = bits.reduce(0) { $0 + ($1 ? 1 : 0) }
    }

    /// The outermost pixels that are set. As in SAM, the right and the lower edge are inclusive. `nil`
    /// for an empty mask.
    public var bounds: PixelBox? {
        var (x0, y0, x1, y1) = (width, height, -1, -1)
        for y in 0..<height {
            let row = bits[y * width..<(y + 1) * width]
            guard let first = row.firstIndex(of: true), let last = row.lastIndex(of: true) else {
                continue
            }
            (x0, x1) = (min(x0, first - row.startIndex), max(x1, last - row.startIndex))
            (y0, y1) = (min(y0, y), y)
        }
        guard x1 >= 0 else { return nil }
        return PixelBox(x0: Double(x0), y0: Double(y0), x1: Double(x1), y1: Double(y1))
    }
}
