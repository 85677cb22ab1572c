/// Brings low-resolution logits of one picture to the picture's own pixels, as `SamPredictor` does:
/// they are enlarged to the encoder's square, cropped to the picture, and resized, each bilinear.
/// That is linear along each axis, so each output takes three or four inputs of a row, then of a
/// column. Any thread may use it.
public struct MaskScaling: Sendable {
    /// The picture that masks are for.
    public let frame: InputFrame
    /// The side of the low-resolution logits.
    public let maskSize: Int
    private let rows: [Blend]
    private let columns: [Blend]

    /// `maskSize`: the side of the logits, from 1 to the frame's side, which asks for no
    /// enlargement before cropping.
    public init(frame: InputFrame, maskSize: Int) {
        precondition(maskSize > 0, "logits have a side")
        (self.frame, self.maskSize) = (frame, maskSize)
        rows = Blend.all(maskSize, frame.side, frame.height, frame.originalHeight)
        columns = Blend.all(maskSize, frame.side, frame.width, frame.originalWidth)
    }

    /// Logits in the picture's pixels, row by row, of `maskSize * maskSize` low-resolution ones.
    ///
    /// Throws ``SegmentationError/logits(_:needed:)`` for another number of them.
    public func logits(_ lowResolution: [Float]) throws -> [Float] {
        var result: [Float] = []
        result.reserveCapacity(frame.originalWidth * frame.originalHeight)
        try eachRow(lowResolution) { result += $0 }
        return result
    }

    /// A mask in the picture's pixels. `threshold`: logits above it are the object.
    /// `keepLogits`: also at full size, which takes four bytes a pixel.
    ///
    /// Throws ``SegmentationError/logits(_:needed:)`` for another number of logits.
    public func mask(
        _ lowResolution: [Float], score: Float, threshold: Float = 0, keepLogits: Bool = false
    ) throws -> Mask {
        var bits: [Bool] = []
        bits.reserveCapacity(frame.originalWidth * frame.originalHeight)
        var logits: [Float] = []
        var (inner, outer) = (0, 0)
        try eachRow(lowResolution) { row in
            for value in row {
                bits.append(value > threshold)
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
        // Of a picture above 16 times as high as wide the columns come first: as Python does, for
        // a sum in another order may round to another sign.
        let isThin = frame.originalHeight > 16 * frame.originalWidth
        let narrowed = isThin ? narrow(logits) : []
        var line = [Float](repeating: 0, count: isThin ? frame.originalWidth : maskSize)
        var row = [Float](repeating: 0, count: frame.originalWidth)
        for blend in rows {
            blend.blendRows(of: isThin ? narrowed : logits, into: &line)
            if !isThin { Blend.blend(line, columns, into: &row) }
            (isThin ? line : row).withUnsafeBufferPointer(use)
        }
    }

    /// Logits of `maskSize` rows, each of the picture's width.
    private func narrow(_ logits: [Float]) -> [Float] {
        var row = [Float](repeating: 0, count: frame.originalWidth)
        return (0..<maskSize).flatMap { y in
            Blend.blend(Array(logits[y * maskSize..<(y + 1) * maskSize]), columns, into: &row)
            return row
        }
    }
}

/// One output as a weighted sum of up to four neighbouring inputs.
private struct Blend {
    var first = 0
    var weights: [Float] = []

    /// A bilinear sample with half-pixel centres, edges clamped: (1 - share) of input `low` and
    /// share of `high`.
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

    /// Along one axis: `size` values enlarged to `square`, cropped to `inner`, resized to `outer`.
    static func all(_ size: Int, _ square: Int, _ inner: Int, _ outer: Int) -> [Blend] {
        (0..<outer).map { output in
            let sample = Sample(output, from: inner, to: outer)
            let low = Sample(sample.low, from: size, to: square)
            let high = Sample(sample.high, from: size, to: square)
            // In float64, and rounded once.
            let weights = (low.low...high.high).map { input in
                let rest = low.weight(of: input) * (1 - sample.share)
                return Float(rest + high.weight(of: input) * sample.share)
            }
            return Blend(first: low.low, weights: weights)
        }
    }

    /// A blend of whole rows of `line.count` values.
    func blendRows(of values: [Float], into line: inout [Float]) {
        let width = line.count
        values.withUnsafeBufferPointer { values in
            line.withUnsafeMutableBufferPointer { line in
                line.update(repeating: 0)
                for (k, weight) in weights.enumerated() {
                    let start = (first + k) * width
                    for x in 0..<width {
                        line[x] = line[x].addingProduct(weight, values[start + x])
                    }
                }
            }
        }
    }

    /// Every one of `blends` of one row's values.
    static func blend(_ line: [Float], _ blends: [Blend], into row: inout [Float]) {
        line.withUnsafeBufferPointer { line in
            for (x, blend) in blends.enumerated() {
                var sum: Float = 0
                for (k, weight) in blend.weights.enumerated() {
                    sum = sum.addingProduct(weight, line[blend.first + k])
                }
                row[x] = sum
            }
        }
    }
}
