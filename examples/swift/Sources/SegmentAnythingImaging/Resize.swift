extension RGBImage {
    /// The picture resized by ``resized(width:height:)`` so that its longer side is `longestSide`.
    ///
    /// Throws ``SegmentationError/pictureSize(width:height:)`` for a side below 1.
    public func resized(longestSide: Int) throws -> RGBImage {
        guard longestSide > 0 else {
            throw SegmentationError.pictureSize(width: longestSide, height: longestSide)
        }
        let frame = try InputFrame(width: width, height: height, side: longestSide)
        return resized(width: frame.width, height: frame.height)
    }

    /// The picture at another size, in pixels, 1 or more: bilinear with antialiasing, bit for bit as
    /// in Pillow. (For some pictures that are more than twice as high as wide, Pillow 13 begins with
    /// the height, and a byte may differ by 1.)
    public func resized(width newWidth: Int, height newHeight: Int) -> RGBImage {
        precondition(newWidth > 0 && newHeight > 0, "a picture has pixels")
        // The width first, with rounding to bytes in between, as in Pillow up to 12.
        let rows = resizedAxis(
            bytes, outer: height, size: width, inner: 3, newSize: newWidth)
        let both = resizedAxis(
            rows, outer: 1, size: height, inner: newWidth * 3, newSize: newHeight)
        return RGBImage(packed: both, width: newWidth, height: newHeight)
    }
}

/// Pillow's precision: the number of bits that weights are rounded to.
private let weightBits = 22

/// The weights of the inputs from `first` on in one output value.
private struct Taps {
    let first: Int
    let weights: [Int32]

    init(output: Int, size: Int, newSize: Int) {
        let scale = Double(size) / Double(newSize)
        let reach = max(scale, 1)
        let centre = (Double(output) + 0.5) * scale
        let first = max(0, Int(centre - reach + 0.5))
        let end = min(size, Int(centre + reach + 0.5))
        let weights = (first..<end).map {
            max(0, 1 - abs((Double($0) - centre + 0.5) * (1 / reach)))
        }
        let sum = weights.reduce(0, +)
        self.first = first
        self.weights = weights.map { Int32(0.5 + $0 / sum * Double(1 << weightBits)) }
    }
}

/// Resizes the middle axis of (outer, size, inner) bytes.
private func resizedAxis(_ input: [UInt8], outer: Int, size: Int, inner: Int, newSize: Int)
    -> [UInt8]
{
    if size == newSize { return input }
    let taps = (0..<newSize).map { Taps(output: $0, size: size, newSize: newSize) }
    var sums = [Int32](repeating: 0, count: inner)
    return [UInt8](unsafeUninitializedCapacity: outer * newSize * inner) { out, count in
        input.withUnsafeBufferPointer { input in
            sums.withUnsafeMutableBufferPointer { sums in
                for o in 0..<outer {
                    for i in 0..<newSize {
                        let source = UnsafeBufferPointer(
                            rebasing: input[
                                (o * size + taps[i].first) * inner..<(o + 1) * size * inner])
                        add(taps[i].weights, source, sums)
                        let place = (o * newSize + i) * inner
                        for c in 0..<inner {
                            out[place + c] = UInt8(min(sums[c] >> Int32(weightBits), 255))
                        }
                    }
                }
            }
        }
        count = outer * newSize * inner
    }
}

/// Weighted sums of runs of `sums.count` bytes in `source`, plus a half for rounding.
private func add(
    _ weights: [Int32], _ source: UnsafeBufferPointer<UInt8>,
    _ sums: UnsafeMutableBufferPointer<Int32>
) {
    sums.update(repeating: 1 << Int32(weightBits - 1))
    for (k, weight) in weights.enumerated() {
        for c in 0..<sums.count {
            sums[c] &+= Int32(source[k * sums.count + c]) &* weight
        }
    }
}
