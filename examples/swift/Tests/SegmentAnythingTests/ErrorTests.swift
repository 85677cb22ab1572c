import Foundation
import SegmentAnything
import Testing

/// Each error says what was found, the rule and the next step, and none ends the program.
@Suite(.withWhole, .serialized) struct ErrorTests {
    @Test func folders() throws {
        let nowhere = Whole.url("nowhere")
        #expect(throws: SegmentationError.folderMissing(nowhere.path)) {
            try Segmenter(folder: nowhere)
        }
        for name in ["encoder.mlxfn", "decoder.mlxfn", "export.json"] {
            try withCopy {
                try FileManager.default.removeItem(at: $0.appendingPathComponent(name))
            } _: { copy in
                let path = copy.appendingPathComponent(name).path
                #expect(throws: SegmentationError.fileMissing(path)) { try Segmenter(folder: copy) }
            }
        }
    }

    @Test func files() throws {
        let name = "decoder.mlxfn"
        let whole = try Data(contentsOf: Whole.export.appendingPathComponent(name))
        try withCopy {
            try whole.dropLast(9).write(to: $0.appendingPathComponent(name))
        } _: { copy in
            let path = copy.appendingPathComponent(name).path
            #expect(
                throws: SegmentationError.fileCutShort(
                    path, bytes: whole.count - 9, expected: whole.count)
            ) { try Segmenter(folder: copy, checksums: false) }
        }
        var changed = whole
        changed[changed.count / 2] ^= 1
        try withCopy {
            try changed.write(to: $0.appendingPathComponent(name))
        } _: { copy in
            let path = copy.appendingPathComponent(name).path
            #expect(throws: SegmentationError.checksumDiffers(path)) {
                try Segmenter(folder: copy)
            }
        }
    }

    @Test func whatMLXCannotRead() throws {
        let name = "encoder.mlxfn"
        try withCopy { copy in
            let url = copy.appendingPathComponent(name)
            let length = try Data(contentsOf: url).count
            try Data(repeating: 0x41, count: length).write(to: url)
        } _: { copy in
            let error = #expect(throws: SegmentationError.self) {
                try Segmenter(folder: copy, checksums: false)
            }
            #expect(error?.description.hasPrefix("MLX cannot run encoder.mlxfn") == true)
        }
    }

    @Test(arguments: [
        ("\"version\": \"\(Segmenter.mlxVersion)\"", "\"version\": \"0.32.4\"", "0.32.4"),
        ("\"kind\": \"\(Segmenter.deviceKind)\"", "\"kind\": \"quantum\"", "quantum"),
        ("\"format_version\": 1", "\"format_version\": 9", "format version 9"),
        ("\"mask_size\"", "\"mask_sise\"", "mask_size is missing"),
        ("{", "[", "not JSON"),
    ])
    func descriptions(old: String, new: String, said: String) throws {
        try withCopy { copy in
            let url = copy.appendingPathComponent("export.json")
            let text = try String(contentsOf: url, encoding: .utf8)
            let place = try #require(text.range(of: old))
            try text.replacingCharacters(in: place, with: new)
                .write(to: url, atomically: true, encoding: .utf8)
        } _: { copy in
            let error = #expect(throws: SegmentationError.self) { try Segmenter(folder: copy) }
            #expect(error?.description.contains(said) == true)
        }
    }

    @Test func prompts() async throws {
        let segmenter = try Segmenter(folder: Whole.export)
        let point = PixelPoint(x: 5, y: 5)
        await #expect(throws: SegmentationError.noImage) {
            try await segmenter.predict(points: [point])
        }
        await #expect(throws: SegmentationError.noImage) { try await segmenter.embedding() }
        try await segmenter.setImage(Whole.picture(Whole.all.get().cases[0].picture))
        let slots = segmenter.description.points.last!
        await #expect(throws: SegmentationError.tooManyPoints(slots + 1, slots: slots)) {
            try await segmenter.predict(points: Array(repeating: point, count: slots + 1))
        }
        let needed = segmenter.description.maskSize * segmenter.description.maskSize
        await #expect(throws: SegmentationError.logits(7, needed: needed)) {
            try await segmenter.predict(points: [point], maskInput: [0, 0, 0, 0, 0, 0, 0])
        }
        var unlimited = [Float](repeating: 0, count: needed)
        unlimited[3] = .infinity
        let logits = unlimited
        await #expect(throws: SegmentationError.logits(needed, needed: needed)) {
            try await segmenter.predict(points: [point], maskInput: logits)
        }
        await #expect(throws: SegmentationError.self) {
            try await segmenter.predict(points: [PixelPoint(x: .nan, y: 0)])
        }
        await #expect(throws: SegmentationError.self) {
            try await segmenter.predict(points: [], box: PixelBox(x0: 9, y0: 0, x1: 1, y1: 5))
        }
    }

    @Test func embeddings() async throws {
        let whole = try Whole.all.get()
        let segmenter = try Segmenter(folder: Whole.export)
        try await segmenter.setImage(Whole.picture(whole.cases[0].picture))
        let before = try await segmenter.embedding()
        let file = try Data(contentsOf: Whole.url(whole.embedding))

        let other = try #require(
            String(decoding: file.prefix(2000), as: UTF8.self).range(of: "\"fingerprint\":\""))
        let start = String(decoding: file.prefix(2000), as: UTF8.self)
            .distance(from: "".startIndex, to: other.upperBound)
        var foreign = file
        foreign[start] = foreign[start] == 0x61 ? 0x62 : 0x61
        let ofOther = try ImageEmbedding(data: foreign)
        await #expect(throws: SegmentationError.self) { try await segmenter.setEmbedding(ofOther) }

        var chance = SystemRandomNumberGenerator()
        for _ in 0..<500 {
            var damaged = file
            switch Int.random(in: 0..<3, using: &chance) {
            case 0: damaged = damaged.prefix(Int.random(in: 0..<damaged.count, using: &chance))
            case 1: damaged[Int.random(in: 0..<400, using: &chance)] ^= 1 << 3
            default: damaged[Int.random(in: 0..<9, using: &chance)] = 0xff
            }
            do {
                try await segmenter.setEmbedding(ImageEmbedding(data: damaged))
                try await segmenter.setEmbedding(before)
            } catch is SegmentationError {
                continue
            }
        }
        #expect(try await segmenter.embedding() == before)
    }
}
