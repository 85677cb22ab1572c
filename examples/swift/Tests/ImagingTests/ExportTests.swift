import Foundation
import Testing

@testable import SegmentAnythingImaging

/// Damaged copies of an exported folder, which is in SAM_VECTORS.
@Suite(.withVectors) struct ExportTests {
    private let source = Vectors.url("export")

    /// A copy of the export in a separate folder.
    private func withCopy(_ change: (URL) throws -> Void) throws {
        let folder = FileManager.default.temporaryDirectory
            .appendingPathComponent(UUID().uuidString)
        try FileManager.default.copyItem(at: source, to: folder)
        defer { try? FileManager.default.removeItem(at: folder) }
        try change(folder)
    }

    private func json(_ old: String, _ new: String) throws -> Data {
        let text = try String(
            contentsOf: source.appendingPathComponent("export.json"), encoding: .utf8)
        #expect(text.contains(old))
        return Data(text.replacingOccurrences(of: old, with: new).utf8)
    }

    @Test func isDescribed() throws {
        let description = try ExportDescription(folder: source)
        try description.checkFiles(in: source)
        try description.check(
            mlxVersion: description.mlxVersion, deviceKind: description.deviceKind)
        #expect(description.embeddingShape.count == 4)
        #expect(description.points == [1, 4] && description.threshold == 0)
        #expect(try description.slots(points: 1, hasBox: false) == 1)
        #expect(try description.slots(points: 2, hasBox: true) == 4)
        #expect(throws: SegmentationError.tooManyPoints(5, slots: 4)) {
            try description.slots(points: 3, hasBox: true)
        }
    }

    @Test func ofAnotherMachine() throws {
        let description = try ExportDescription(folder: source)
        let version = description.mlxVersion
        #expect(throws: SegmentationError.mlxVersion(version, needed: "0.0.1")) {
            try description.check(mlxVersion: "0.0.1", deviceKind: description.deviceKind)
        }
        #expect(throws: SegmentationError.deviceKind(description.deviceKind, needed: "abacus")) {
            try description.check(mlxVersion: version, deviceKind: "abacus")
        }
    }

    @Test func filesMissingOrChanged() throws {
        #expect(throws: SegmentationError.folderMissing("/nowhere")) {
            try ExportDescription(folder: URL(fileURLWithPath: "/nowhere"))
        }
        let description = try ExportDescription(folder: source)
        try withCopy { folder in
            let file = folder.appendingPathComponent("decoder.mlxfn")
            var data = try Data(contentsOf: file)
            data[data.count / 2] ^= 1
            try data.write(to: file)
            try description.checkFiles(in: folder, checksums: false)
            #expect(throws: SegmentationError.checksumDiffers(file.path)) {
                try description.checkFiles(in: folder)
            }
            let (bytes, expected) = (data.count - 1, data.count)
            try data.dropLast().write(to: file)
            #expect(
                throws: SegmentationError.fileCutShort(file.path, bytes: bytes, expected: expected)
            ) { try description.checkFiles(in: folder, checksums: false) }
            try FileManager.default.removeItem(at: file)
            #expect(throws: SegmentationError.fileMissing(file.path)) {
                try description.checkFiles(in: folder)
            }
            try FileManager.default.removeItem(at: folder.appendingPathComponent("export.json"))
            #expect { try ExportDescription(folder: folder) } throws: {
                guard case .fileMissing = $0 as? SegmentationError else { return false }
                return true
            }
        }
    }

    @Test func malformed() throws {
        let faults: [Data] = [
            Data(), Data("{".utf8), Data("[]".utf8), Data("{}".utf8),
            try json("sam_mlx.export", "another"), try json(#""image_size""#, #""size""#),
            try json(#""mask_size": 160"#, #""mask_size": 0"#),
            try json(#""mask_size": 160"#, #""mask_size": "160""#),
            try json(#""decoder.mlxfn""#, #""other.mlxfn""#),
            try json(#""channels": "RGB""#, #""channels": "BGR""#),
            try json(#""threshold": 0.0"#, #""threshold": null"#),
        ]
        for (i, fault) in faults.enumerated() {
            #expect("\(i)") { try ExportDescription(json: fault) } throws: {
                guard case .malformedExport = $0 as? SegmentationError else { return false }
                return true
            }
        }
        let newer = try json(#""format_version": 1"#, #""format_version": 2"#)
        #expect(throws: SegmentationError.formatVersion(2, readable: 1)) {
            try ExportDescription(json: newer)
        }
    }
}
