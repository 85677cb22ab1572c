import Foundation

/// The checksum in `export.json` (FIPS 180-4), which Foundation does not have on Linux.
struct SHA256 {
    private static let primes: [UInt32] = {
        var found: [UInt32] = []
        var candidate: UInt32 = 2
        while found.count < 64 {
            if found.allSatisfy({ candidate % $0 != 0 }) { found.append(candidate) }
            candidate += 1
        }
        return found
    }()
    /// The tables of the standard: the first 32 bits of the fractional parts of the cube roots of the
    /// first 64 primes, and of the square roots of the first 8.
    private static let constants = primes.map { fraction(cbrt(Double($0))) }
    private static let start = primes.prefix(8).map { fraction(Double($0).squareRoot()) }

    private static func fraction(_ root: Double) -> UInt32 {
        UInt32((root - root.rounded(.down)) * 4_294_967_296)
    }

    private var state = start
    private var words = [UInt32](repeating: 0, count: 64)

    /// The checksum in hexadecimal digits. Throws if the file cannot be read.
    static func digest(ofFile url: URL) throws -> String {
        do {
            return digest(of: try Data(contentsOf: url, options: .mappedIfSafe))
        } catch {
            throw SegmentationError.fileUnreadable(url.path, reason: error.localizedDescription)
        }
    }

    static func digest(of data: Data) -> String {
        var hash = SHA256()
        let whole = data.count / 64 * 64
        data.withUnsafeBytes { hash.add(UnsafeRawBufferPointer(rebasing: $0[..<whole])) }
        var rest = [UInt8](data.suffix(data.count - whole)) + [0x80]
        while rest.count % 64 != 56 { rest.append(0) }
        let bits = UInt64(data.count) * 8
        for shift in stride(from: 56, through: 0, by: -8) {
            rest.append(UInt8(truncatingIfNeeded: bits >> UInt64(shift)))
        }
        rest.withUnsafeBytes { hash.add($0) }
        return hash.state.map { word in
            let digits = String(word, radix: 16)
            return String(repeating: "0", count: 8 - digits.count) + digits
        }.joined()
    }

    private mutating func add(_ blocks: UnsafeRawBufferPointer) {
        Self.constants.withUnsafeBufferPointer { constants in
            words.withUnsafeMutableBufferPointer { words in
                for offset in stride(from: 0, to: blocks.count, by: 64) {
                    Self.schedule(blocks, offset, words)
                    Self.mix(&state, words, constants)
                }
            }
        }
    }

    private static func schedule(
        _ blocks: UnsafeRawBufferPointer, _ offset: Int, _ words: UnsafeMutableBufferPointer<UInt32>
    ) {
        for i in 0..<16 {
            let word = blocks.loadUnaligned(fromByteOffset: offset + 4 * i, as: UInt32.self)
            words[i] = UInt32(bigEndian: word)
        }
        for i in 16..<64 {
            let (a, b) = (words[i - 15], words[i - 2])
            let low = turned(a, 7) ^ turned(a, 18) ^ a >> 3
            let high = turned(b, 17) ^ turned(b, 19) ^ b >> 10
            words[i] = words[i - 16] &+ low &+ words[i - 7] &+ high
        }
    }

    private static func mix(
        _ state: inout [UInt32], _ words: UnsafeMutableBufferPointer<UInt32>,
        _ constants: UnsafeBufferPointer<UInt32>
    ) {
        var (a, b, c, d) = (state[0], state[1], state[2], state[3])
        var (e, f, g, h) = (state[4], state[5], state[6], state[7])
        for i in 0..<64 {
            let choice = (e & f) ^ (~e & g)
            let majority = (a & b) ^ (a & c) ^ (b & c)
            let first =
                h &+ (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) &+ choice &+ constants[i]
                &+ words[i]
            let second = (turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) &+ majority
            (h, g, f, e, d, c, b, a) = (g, f, e, d &+ first, c, b, a, first &+ second)
        }
        for (i, value) in [a, b, c, d, e, f, g, h].enumerated() { state[i] &+= value }
    }

    private static func turned(_ word: UInt32, _ by: UInt32) -> UInt32 {
        word >> by | word << (32 - by)
    }
}
