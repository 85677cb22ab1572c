import Foundation
import SegmentAnythingImaging
import Testing

/// What Python wrote into the folder SAM_VECTORS (`tests/examples/test_swift.py`).
struct Vectors: Decodable {
    struct Resize: Decodable {
        let picture, resized: String
        let side: Int
    }
    struct Mask: Decodable {
        let width, height, side, maskSize, area: Int
        let score, stability: Float
    }
    struct Coordinates: Decodable {
        let width, height, side: Int
        let frame: [Int]
        let point, box: [Double]
        let mappedPoint, mappedBox: [Float]
    }
    struct Runs: Decodable {
        let bits, compressed: String
        let width, height, area: Int
        let counts: [Int]
    }
    struct Digest: Decodable { let file, sha256: String }

    let resize: [Resize]
    let masks: [Mask]
    let coordinates: [Coordinates]
    let runs: [Runs]
    let digests: [Digest]

    static let folder = ProcessInfo.processInfo.environment["SAM_VECTORS"].map {
        URL(fileURLWithPath: $0, isDirectory: true)
    }
    static let all = Result {
        try JSONDecoder().decode(Vectors.self, from: data("vectors.json"))
    }

    static func url(_ name: String) -> URL { folder!.appendingPathComponent(name) }
    static func data(_ name: String) throws -> Data { try Data(contentsOf: url(name)) }
    static func bits(_ name: String) throws -> [Bool] { try data(name).map { $0 != 0 } }
    static func floats(_ name: String) throws -> [Float] {
        try data(name).withUnsafeBytes { bytes in
            (0..<bytes.count / 4).map {
                Float(bitPattern: bytes.loadUnaligned(fromByteOffset: 4 * $0, as: UInt32.self))
            }
        }
    }
}

extension Trait where Self == ConditionTrait {
    static var withVectors: Self {
        .enabled(
            if: Vectors.folder != nil,
            "SAM_VECTORS is not set: pytest --slow tests/examples/test_swift.py sets it")
    }
}
