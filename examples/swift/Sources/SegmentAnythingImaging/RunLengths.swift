import Foundation

/// A mask as COCO stores it: the lengths of alternating runs of unset and set pixels, column by
/// column, beginning with unset ones. Any thread may use it.
///
/// In JSON it is `{"size": [height, width], "counts": ...}`, where counts are numbers or in COCO's
/// compressed form. It is written compressed, as by `pycocotools`.
public struct RunLengths: Sendable, Equatable {
    /// The width in pixels.
    public let width: Int
    /// The height in pixels.
    public let height: Int
    /// The lengths of the runs, of which the first may be 0; their sum is `width * height`.
    public let counts: [Int]

    /// Run lengths that are already known.
    ///
    /// Throws ``SegmentationError/malformedRunLengths(reason:)`` for an impossible size, negative
    /// lengths, or lengths that do not add up to the size.
    public init(counts: [Int], width: Int, height: Int) throws {
        let (pixels, overflow) = width.multipliedReportingOverflow(by: height)
        guard width > 0, height > 0, !overflow else {
            throw SegmentationError.malformedRunLengths(reason: "their size is \(height), \(width)")
        }
        var covered = 0
        for count in counts {
            guard count >= 0, count <= pixels - covered else {
                throw SegmentationError.malformedRunLengths(
                    reason: "a run of \(count) after \(covered) of \(pixels) pixels")
            }
            covered += count
        }
        guard covered == pixels else {
            throw SegmentationError.malformedRunLengths(
                reason: "they cover \(covered) of \(pixels) pixels")
        }
        (self.width, self.height, self.counts) = (width, height, counts)
    }

    /// The runs of a mask.
    public init(_ mask: Mask) {
        precondition(mask.width > 0 && mask.height > 0, "a mask has pixels")
        var counts = [0]
        var last = false
        for x in 0..<mask.width {
            for y in 0..<mask.height {
                let bit = mask.bits[y * mask.width + x]
                if bit != last { counts.append(0) }
                counts[counts.count - 1] += 1
                last = bit
            }
        }
        (width, height, self.counts) = (mask.width, mask.height, counts)
    }

    /// Runs from their compressed form.
    ///
    /// Throws ``SegmentationError/malformedRunLengths(reason:)``.
    public init(compressed: String, width: Int, height: Int) throws {
        try self.init(counts: Self.parse(compressed.utf8), width: width, height: height)
    }

    /// Row by row from the upper left corner, `true` where set: the bits of a ``Mask``.
    public var bits: [Bool] {
        var bits = [Bool](repeating: false, count: width * height)
        var start = 0
        for (run, count) in counts.enumerated() {
            if run % 2 == 1 {
                for i in start..<start + count { bits[i % height * width + i / height] = true }
            }
            start += count
        }
        return bits
    }

    /// The number of pixels that are set.
    public var area: Int {
        counts.indices.filter { $0 % 2 == 1 }.reduce(0) { $0 + counts[$1] }
    }

    /// The counts in COCO's compressed form. From the fourth on, a run is stored as its difference
    /// from the run two before it. Numbers are in digits of 5 bits, lowest first, with 32 added if
    /// another digit follows, as characters from "0" on.
    public var compressed: String {
        var text: [UInt8] = []
        for (i, count) in counts.enumerated() {
            var rest = i > 2 ? count - counts[i - 2] : count
            var goesOn = true
            while goesOn {
                let digit = rest & 31
                rest >>= 5
                // A number may end once its sign, the top bit of the last digit, is right.
                goesOn = rest != (digit & 16 == 0 ? 0 : -1)
                text.append(UInt8(digit + 48 + (goesOn ? 32 : 0)))
            }
        }
        return String(decoding: text, as: UTF8.self)
    }

    private static func parse(_ text: String.UTF8View) throws -> [Int] {
        let fault = SegmentationError.malformedRunLengths(
            reason: "\(String(text.prefix(40)) ?? "") is not a compressed form")
        var counts: [Int] = []
        var (value, shift) = (0, 0)
        for character in text {
            // Twelve digits of 5 bits fit into 64.
            guard (48..<112).contains(character), shift < 60 else { throw fault }
            let digit = Int(character) - 48
            value |= (digit & 31) << shift
            shift += 5
            guard digit & 32 == 0 else { continue }
            if digit & 16 != 0 { value -= 1 << shift }
            let before = counts.count > 2 ? counts[counts.count - 2] : 0
            let (count, overflow) = before.addingReportingOverflow(value)
            guard !overflow else { throw fault }
            counts.append(count)
            (value, shift) = (0, 0)
        }
        guard shift == 0 else { throw fault }
        return counts
    }
}

extension RunLengths: Codable {
    private enum CodingKeys: String, CodingKey { case size, counts }

    /// Throws `DecodingError`, or ``SegmentationError/malformedRunLengths(reason:)``.
    public init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: CodingKeys.self)
        let size = try fields.decode([Int].self, forKey: .size)
        guard size.count == 2 else {
            throw SegmentationError.malformedRunLengths(reason: "their size is \(size)")
        }
        if let text = try? fields.decode(String.self, forKey: .counts) {
            try self.init(compressed: text, width: size[1], height: size[0])
        } else {
            let counts = try fields.decode([Int].self, forKey: .counts)
            try self.init(counts: counts, width: size[1], height: size[0])
        }
    }

    /// Writes the compressed form.
    public func encode(to encoder: any Encoder) throws {
        var fields = encoder.container(keyedBy: CodingKeys.self)
        try fields.encode([height, width], forKey: .size)
        try fields.encode(compressed, forKey: .counts)
    }
}
