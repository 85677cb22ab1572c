import Foundation
import Testing

@testable import SegmentAnythingImaging

/// Bad input throws an error that says what is wrong, and never crashes.
@Suite struct ErrorTests {
    @Test func pictures() throws {
        for (width, height) in [(0, 4), (4, 0), (-1, 4), (.max, 2), (.max / 3, 3), (.max, .max)] {
            #expect(throws: SegmentationError.pictureSize(width: width, height: height)) {
                try RGBImage(bytes: [1, 2, 3], width: width, height: height)
            }
        }
        #expect(throws: SegmentationError.pictureChannels(2)) {
            try RGBImage(bytes: [], width: 1, height: 1, channels: 2)
        }
        #expect(throws: SegmentationError.rowStride(11, least: 12)) {
            try RGBImage(bytes: .init(repeating: 0, count: 99), width: 4, height: 2, rowStride: 11)
        }
        #expect(throws: SegmentationError.pictureSize(width: 1, height: 3)) {
            try RGBImage(bytes: [1, 2, 3], width: 1, height: 3, rowStride: .max)
        }
        #expect(throws: SegmentationError.pictureBytes(26, needed: 27)) {
            try RGBImage(bytes: .init(repeating: 0, count: 26), width: 4, height: 2, rowStride: 15)
        }
    }

    @Test func gapsAndAlphaAreLeftOut() throws {
        let bytes = (0..<20).map { UInt8($0) }
        let rgb = try RGBImage(bytes: bytes, width: 2, height: 2, rowStride: 10)
        #expect(rgb.bytes == [0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15])
        let rgba = try RGBImage(bytes: bytes, width: 2, height: 2, channels: 4)
        #expect(rgba.bytes == [0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14])
    }

    @Test func pictureFiles() throws {
        for text in [
            "", "P5\n1 1\n255\n123", "P6", "P6 # 1 1 255", "P6 1 1 65535 123456", "P6 2 2 255 123",
            "P6 a 1 255 123", "P6 1 1 255",
        ] {
            #expect { try RGBImage(ppm: Data(text.utf8)) } throws: {
                guard case .malformedPicture = $0 as? SegmentationError else { return false }
                return true
            }
        }
        #expect(throws: SegmentationError.pictureSize(width: 0, height: 1)) {
            try RGBImage(ppm: Data("P6 0 1 255 ".utf8))
        }
        let commented = try RGBImage(ppm: Data("P6 # a comment\n1 1\n#\n255\nabc".utf8))
        #expect(commented.bytes == [97, 98, 99])
        #expect(try RGBImage(ppm: commented.ppm) == commented)
        #expect(throws: SegmentationError.fileMissing("/nowhere.ppm")) {
            try RGBImage(ppmFile: URL(fileURLWithPath: "/nowhere.ppm"))
        }
    }

    @Test func prompts() throws {
        let frame = try InputFrame(width: 40, height: 30, side: 320)
        let point = PixelPoint(x: 1, y: 2)
        let nowhere = PixelPoint(x: .nan, y: 2)
        let far = PixelPoint(x: 1e300, y: 2)
        #expect(throws: SegmentationError.pointOutOfRange(far)) {
            try frame.slots(points: [far], box: nil, slots: 1)
        }
        #expect { try nowhere.check() } throws: { "\($0)".hasPrefix("the point nan") }
        #expect(throws: SegmentationError.tooManyPoints(3, slots: 2)) {
            try frame.slots(
                points: [point], box: PixelBox(x0: 0, y0: 0, x1: 1, y1: 1), slots: 2)
        }
        let turned = PixelBox(x0: 2, y0: 0, x1: 1, y1: 1)
        #expect(throws: SegmentationError.boxOutOfRange(turned)) {
            try frame.slots(points: [], box: turned, slots: 4)
        }
        #expect(throws: SegmentationError.logits(3, needed: 4)) {
            try MaskScaling(frame: frame, maskSize: 2).logits([1, 2, 3])
        }
        #expect(throws: SegmentationError.pictureSize(width: 0, height: 0)) {
            try RGBImage(bytes: [1, 2, 3], width: 1, height: 1).resized(longestSide: 0)
        }
    }

    @Test func runLengths() throws {
        let malformed: [() throws -> RunLengths] = [
            { try RunLengths(counts: [3], width: 0, height: 3) },
            { try RunLengths(counts: [3], width: .max, height: 3) },
            { try RunLengths(counts: [3], width: 2, height: 2) },
            { try RunLengths(counts: [5, -1], width: 2, height: 2) },
            { try RunLengths(counts: [.max, .max], width: 2, height: 2) },
            { try RunLengths(compressed: "", width: 2, height: 2) },
            { try RunLengths(compressed: "P", width: 2, height: 2) },
            { try RunLengths(compressed: "~", width: 2, height: 2) },
            { try RunLengths(compressed: "\u{e9}", width: 2, height: 2) },
            { try RunLengths(compressed: .init(repeating: "o", count: 40), width: 2, height: 2) },
            { try decoded(#"{"size": [2], "counts": [4]}"#) },
            { try decoded(#"{"size": [2, 2], "counts": [5]}"#) },
        ]
        for (i, make) in malformed.enumerated() {
            #expect("\(i)") { try make() } throws: {
                guard case .malformedRunLengths = $0 as? SegmentationError else { return false }
                return true
            }
        }
        let runs = try decoded(#"{"size": [2, 3], "counts": [1, 2, 3]}"#)
        #expect(runs.bits == [false, true, false, true, false, false])
        #expect(try decoded(String(decoding: JSONEncoder().encode(runs), as: UTF8.self)) == runs)
    }

    private func decoded(_ json: String) throws -> RunLengths {
        try JSONDecoder().decode(RunLengths.self, from: Data(json.utf8))
    }

    @Test func sentencesSayTheNextStep() {
        let point = PixelPoint(x: .nan, y: 0)
        let errors: [SegmentationError] = [
            .folderMissing("a"), .fileMissing("a"), .fileUnreadable("a", reason: "b"),
            .fileUnwritable("a", reason: "b"), .fileCutShort("a", bytes: 1, expected: 2),
            .checksumDiffers("a"), .functionFails("a", reason: "b"), .malformedExport(reason: "a"),
            .formatVersion(2, readable: 1), .mlxVersion("1", needed: "2"),
            .deviceKind("cpu", needed: "metal"), .tooManyPoints(5, slots: 4), .noImage,
            .pictureSize(width: 0, height: 0), .pictureChannels(1), .rowStride(1, least: 3),
            .pictureBytes(1, needed: 3), .malformedPicture(reason: "a"), .pointOutOfRange(point),
            .boxOutOfRange(PixelBox(from: point, to: point)), .logits(1, needed: 2),
            .embeddingOfOtherModel("a", needed: "b"), .malformedEmbedding(reason: "a"),
            .malformedRunLengths(reason: "a"),
        ]
        for error in errors {
            #expect(error.description.count > 20 && error.localizedDescription == "\(error)")
        }
    }
}
