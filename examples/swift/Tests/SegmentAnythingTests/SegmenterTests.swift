import Foundation
import SegmentAnything
import Testing

@Suite(.withWhole, .serialized) struct SegmenterTests {
    @Test func equalsSamPredictor() async throws {
        let segmenter = try Segmenter(folder: Whole.export)
        var current = ""
        for (i, expected) in try Whole.all.get().cases.enumerated() {
            if expected.picture != current {
                try await segmenter.setImage(Whole.picture(expected.picture))
                current = expected.picture
            }
            let earlier = try expected.logits.map(Whole.floats)
            let found = try await segmenter.predict(
                points: expected.points, box: expected.box, maskInput: earlier)
            #expect(found.masks.count == expected.scores.count)
            let differences = zip(found.masks, expected.scores).map { abs($0.score - $1) }
            #expect(differences.max()! < 1e-6, "case \(i)")
            let unequal = try zip(found.masks.flatMap(\.bits), Whole.bits(expected.bits))
                .filter { $0 != $1 }.count
            #expect(unequal == 0, "case \(i): \(expected.picture)")
            let best = expected.scores.max()
            #expect(expected.scores[found.recommended] == best)
            #expect(found.reason == (expected.scores.count == 1 ? .clearPrompt : .bestReading))
        }
    }

    @Test func logitsOfThePicture() async throws {
        let segmenter = try Segmenter(folder: Whole.export)
        let picture = try Whole.picture(Whole.all.get().cases[0].picture)
        try await segmenter.setImage(picture)
        let point = PixelPoint(x: 9, y: 9)
        let found = try await segmenter.predict(points: [point], keepLogits: true)
        for mask in found.masks {
            #expect(mask.logits!.map { $0 > 0 } == mask.bits)
        }
        #expect(try await segmenter.predict(points: [point]).masks[0].logits == nil)
    }

    @Test func embeddingsGoThereAndBack() async throws {
        let whole = try Whole.all.get()
        let expected = whole.cases[whole.ofEmbedding]
        let segmenter = try Segmenter(folder: Whole.export)
        try await segmenter.setEmbedding(ImageEmbedding(contentsOf: Whole.url(whole.embedding)))
        let ofPython = try await segmenter.predict(points: expected.points, box: expected.box)
        #expect(try ofPython.masks.flatMap(\.bits) == Whole.bits(expected.bits))

        try await segmenter.setImage(Whole.picture(expected.picture))
        let own = try await segmenter.embedding()
        try own.write(to: Whole.url("swift.safetensors"))  // which Python reads afterwards
        await segmenter.reset()
        try await segmenter.setEmbedding(
            ImageEmbedding(contentsOf: Whole.url("swift.safetensors")))
        #expect(try await segmenter.embedding() == own)
        let ofSwift = try await segmenter.predict(points: expected.points, box: expected.box)
        #expect(ofSwift.masks.map(\.bits) == ofPython.masks.map(\.bits))
        let differences = zip(ofSwift.masks, ofPython.masks).map { abs($0.score - $1.score) }
        #expect(differences.max()! < 1e-6)  // the two builds of MLX round differently
    }

    @Test func samHQ() async throws {
        let expected = try Whole.all.get().hq
        let segmenter = try Segmenter(folder: Whole.url("hq"))
        try await segmenter.setImage(Whole.picture(expected.picture))
        let found = try await segmenter.predict(points: expected.points)
        let best = found.masks[found.recommended]
        #expect(abs(best.score - expected.scores[0]) < 1e-6)
        #expect(try best.bits == Whole.bits(expected.bits))

        let own = try await segmenter.embedding()
        #expect(own.otherFeatures.map(\.name) == ["hq_features"])
        #expect(try ImageEmbedding(data: own.data()) == own)
        try await segmenter.setEmbedding(ImageEmbedding(contentsOf: Whole.url("hq.safetensors")))
        let again = try await segmenter.predict(points: expected.points)
        #expect(again.masks[found.recommended].bits == best.bits)
        let plain = try Segmenter(folder: Whole.export)
        await #expect(throws: SegmentationError.self) { try await plain.setEmbedding(own) }
    }

    @Test func memoryStaysFlat() async throws {
        let segmenter = try Segmenter(folder: Whole.export)
        try await segmenter.setImage(Whole.picture(Whole.all.get().cases[0].picture))
        var before = 0.0
        for i in 0..<500 {
            _ = try await segmenter.predict(points: [PixelPoint(x: Double(i % 50), y: 9)])
            if i == 50 { before = residentMemory() ?? 0 }
        }
        let grown = (residentMemory() ?? 0) - before
        #expect(grown < 10, "MB after 450 predictions")
    }

    @Test func tenCallersAtOnce() async throws {
        let segmenter = try Segmenter(folder: Whole.export)
        try await segmenter.setImage(Whole.picture(Whole.all.get().cases[0].picture))
        let point = PixelPoint(x: 20, y: 12)
        let alone = try await segmenter.predict(points: [point])
        try await withThrowingTaskGroup(of: Prediction.self) { group in
            for _ in 0..<10 { group.addTask { try await segmenter.predict(points: [point]) } }
            for try await found in group { #expect(found == alone) }
        }
    }

    @Test func aCancelledTaskLeavesThePicture() async throws {
        let whole = try Whole.all.get()
        let segmenter = try Segmenter(folder: Whole.export)
        try await segmenter.setImage(Whole.picture(whole.cases[0].picture))
        let before = try await segmenter.embedding()
        let other = try Whole.picture(whole.cases.last!.picture)
        let task = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            try await segmenter.setImage(other)
        }
        await #expect(throws: CancellationError.self) { try await task.value }
        let prompt = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            _ = try await segmenter.predict(points: [PixelPoint(x: 1, y: 1)])
        }
        await #expect(throws: CancellationError.self) { try await prompt.value }
        #expect(try await segmenter.embedding() == before)
    }
}
