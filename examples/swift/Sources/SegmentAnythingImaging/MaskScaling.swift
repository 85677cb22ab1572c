/// Brings low-resolution logits to the size of their picture as `SamPredictor` does: enlarges them to
/// the encoder's square, crops them to the picture, and resizes them, both bilinearly. All of that is
/// linear along each axis, so every output is a sum of three inputs of a column, then of a row. Any
/// thread may use it.
public struct MaskScaling: Sendable {
    /// The frame of the picture that the masks are for.
    public let frame: InputFrame
    /// The side of the low-resolution logits.
    public let maskSize: Int
    private let rows: [Blend]
    private let columns: [Blend]

    /// `maskSize`: the side of the logits, from 1 to the side of the frame's square.
    public init(frame: InputFrame, maskSize: Int) {
        precondition(maskSize > 0 && maskSize <= frame.side, "logits are no larger than the square")
        (self.frame, self.maskSize) = (frame, maskSize)
        rows = Blend.all(maskSize, frame.side, frame.height, frame.originalHeight)
        columns = Blend.all(maskSize, frame.side, frame.width, frame.originalWidth)
    }

    /// Logits at the picture's size, row by row, from `maskSize * maskSize` low-resolution ones.
    ///
    /// Throws ``SegmentationError/logits(_:needed:)`` for any other number of logits.
    public func logits(_ lowResolution: [Float]) throws -> [Float] {
        var result: [Float] = []
        result.reserveCapacity(frame.originalWidth * frame.originalHeight)
        try eachRow(lowResolution) { result += $0 }
        return result
    }

    /// A mask at the picture's size. `threshold`: logits above it are on the object.
    /// `keepLogits`: whether to keep logits at that size, which take four bytes per pixel.
    ///
    /// Throws ``SegmentationError/logits(_:needed:)`` for a wrong number of logits.
    public func mask(
        _ lowResolution: [Float], score: Float, threshold: Float = 0, keepLogits: Bool = false
    ) throws -> Mask {
        var bits: [Bool] = []
        bits.reserveCapacity(frame.originalWidth * frame.originalHeight)
        var logits: [Float] = []
        var (inner, outer) = (0, 0)
        try eachRow(lowResolution) { row in
            bits += row.lazy.map { $0 > threshold }
            for value in row {
                inner += value > threshold + 1 ? 1 : 0
                outer += value > threshold - 1 ? 1 : 0
            }
            if keepLogits { logits += row }
        }
        return Mask(
            bits: bits, width: frame.originalWidth, height: frame.originalHeight, score: score,
            stability: outer == 0 ? 0 : Float(inner) / Float(outer),
            lowResolution: lowResolution, logits: keepLogits ? logits : nil)
    }

    private func eachRow(_ logits: [Float], _ use: (UnsafeBufferPointer<Float>) -> Void) throws {
        guard logits.count == maskSize * maskSize else {
            throw SegmentationError.logits(logits.count, needed: maskSize * maskSize)
        }
        // Two extra rows and two extra values, which the last blends multiply by 0.
        let padded = logits + [Float](repeating: 0, count: 2 * maskSize)
        var line = [Float](repeating: 0, count: maskSize + 2)
        var row = [Float](repeating: 0, count: frame.originalWidth)
        padded.withUnsafeBufferPointer { padded in
            line.withUnsafeMutableBufferPointer { line in
                row.withUnsafeMutableBufferPointer { row in
                    for blend in rows {
                        for x in 0..<maskSize {
                            line[x] = blend.of(padded, from: x, step: maskSize)
                        }
                        for (x, blend) in columns.enumerated() {
                            row[x] = blend.of(UnsafeBufferPointer(line), from: 0, step: 1)
                        }
                        use(UnsafeBufferPointer(row))
                    }
                }
            }
        }
    }
}

/// One output as a weighted sum of three neighbouring inputs.
private struct Blend {
    let first: Int
    let weights: (Float, Float, Float)

    /// Rounded once for each product and sum, as in matrix products, so that not only masks but also
    /// logits equal Python's.
    @inline(__always)
    func of(_ values: UnsafeBufferPointer<Float>, from start: Int, step: Int) -> Float {
        let place = start + first * step
        return (weights.0 * values[place])
            .addingProduct(weights.1, values[place + step])
            .addingProduct(weights.2, values[place + 2 * step])
    }

    /// Along one axis: `size` values enlarged to `square`, cropped to `inner`, resized to `outer`.
    static func all(_ size: Int, _ square: Int, _ inner: Int, _ outer: Int) -> [Blend] {
        (0..<outer).map { output in
            let sample = Sample(output, from: inner, to: outer)
            // They are neighbours in the square, so at most one input apart: three inputs in all.
            let low = Sample(sample.low, from: size, to: square)
            let high = Sample(sample.high, from: size, to: square)
            let weights = (0..<3).map { k in
                let rest = low.weight(of: low.low + k) * (1 - sample.share)
                return Float(rest + high.weight(of: low.low + k) * sample.share)
            }
            return Blend(first: low.low, weights: (weights[0], weights[1], weights[2]))
        }
    }
}

/// A bilinear sample with half-pixel centres and clamped edges, in float64: (1 - share) of the input
/// `low` and share of the input `high`.
private struct Sample {
    let low: Int
    let high: Int
    let share: Double

    init(_ output: Int, from size: Int, to newSize: Int) {
        let centre = max((Double(output) + 0.5) * (Double(size) / Double(newSize)) - 0.5, 0)
        low = min(Int(centre), size - 1)
        high = min(low + 1, size - 1)
        share = centre - Double(low)
    }

    func weight(of input: Int) -> Double {
        (input == low ? 1 - share : 0) + (input == high ? share : 0)
    }
}
