import Foundation
import SegmentAnything
import Testing

/// What Python wrote into the folder SAM_WHOLE: an export of nano, pictures, and what `SamPredictor`
/// found in them with the same version of MLX (`tests/support/swift_whole.py`).
struct Whole: Decodable {
    struct Case: Decodable {
        let picture, bits: String
        let logits: String?
        let points: [PixelPoint]
        let box: PixelBox?
        let scores: [Float]
    }

    let cases: [Case]
    let embedding: String
    let ofEmbedding: Int
    let hq: Case

    static let folder = ProcessInfo.processInfo.environment["SAM_WHOLE"].map {
        URL(fileURLWithPath: $0, isDirectory: true)
    }
    static let all = Result {
        try JSONDecoder().decode(Whole.self, from: Data(contentsOf: url("whole.json")))
    }

    static var export: URL { url("nano") }

    static func url(_ name: String) -> URL { folder!.appendingPathComponent(name) }

    static func picture(_ name: String) throws -> RGBImage { try RGBImage(ppmFile: url(name)) }

    static func floats(_ name: String) throws -> [Float] {
        try Data(contentsOf: url(name)).withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
    }

    static func bits(_ name: String) throws -> [Bool] {
        try Data(contentsOf: url(name)).map { $0 != 0 }
    }
}

extension Trait where Self == ConditionTrait {
    static var withWhole: Self {
        .enabled(if: Whole.folder != nil, "SAM_WHOLE is not set: pytest tests/examples sets it")
    }
}

/// A changed copy of the exported folder, which is removed at the end.
func withCopy(_ change: (URL) throws -> Void, _ use: (URL) throws -> Void) throws {
    let copy = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
    try FileManager.default.copyItem(at: Whole.export, to: copy)
    defer { try? FileManager.default.removeItem(at: copy) }
    try change(copy)
    try use(copy)
}

/// The memory of the process in MB, which is known on Linux only.
func residentMemory() -> Double? {
    guard let text = try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8) else {
        return nil
    }
    return Double(text.split(separator: " ")[1]).map { $0 * 4096 / 1e6 }
}
