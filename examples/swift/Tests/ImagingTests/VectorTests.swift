import Foundation
import Testing

@testable import SegmentAnythingImaging

/// Results equal those that Python computed in the same run.
@Suite(.withVectors) struct VectorTests {
    @Test func resizeEqualsPillows() throws {
        for vector in try Vectors.all.get().resize {
            let image = try RGBImage(ppmFile: Vectors.url(vector.picture))
            let expected = try RGBImage(ppmFile: Vectors.url(vector.resized))
            let resized = try image.resized(longestSide: vector.side)
            // Compared outside #expect, which would print every pixel.
            let unequal = zip(resized.bytes, expected.bytes).filter { $0 != $1 }.count
            #expect(resized.bytes.count == expected.bytes.count)
            #expect(unequal == 0, "\(image.width)x\(image.height) to \(vector.side)")
        }
    }

    @Test func masksEqualPredictors() throws {
        for (i, vector) in try Vectors.all.get().masks.enumerated() {
            let name: Comment = "\(vector.width)x\(vector.height)"
            let frame = try InputFrame(
                width: vector.width, height: vector.height, side: vector.side)
            let scaling = MaskScaling(frame: frame, maskSize: vector.maskSize)
            let low = try Vectors.floats("low\(i)")
            let mask = try scaling.mask(low, score: vector.score, keepLogits: true)
            let isEqual = try mask.bits == Vectors.bits("bits\(i)")
            #expect(isEqual, name)
            #expect(mask.area == vector.area, name)
            #expect(mask.stability == vector.stability, name)
            let (logits, expected) = (mask.logits!, try Vectors.floats("logits\(i)"))
            let largest = expected.map(abs).max()!
            let difference = zip(logits, expected).map { abs($0 - $1) }.max()!
            // Measured: 9e-8 if MLX multiplies by a single column, and equal otherwise.
            #expect(difference <= 2e-7 * largest, name)
            #expect(try scaling.logits(low).count == logits.count)
        }
    }

    @Test func coordinatesEqualPythons() throws {
        for vector in try Vectors.all.get().coordinates {
            let frame = try InputFrame(
                width: vector.width, height: vector.height, side: vector.side)
            #expect([frame.width, frame.height] == vector.frame)
            let point = PixelPoint(x: vector.point[0], y: vector.point[1])
            let box = PixelBox(
                x0: vector.box[0], y0: vector.box[1], x1: vector.box[2], y1: vector.box[3])
            let slots = try frame.slots(points: [point], box: box, slots: 4)
            #expect(slots.coordinates == vector.mappedPoint + vector.mappedBox + [0, 0])
            #expect(slots.labels == [1, 2, 3, -1])
        }
    }

    @Test func runLengthsEqualPythons() throws {
        for vector in try Vectors.all.get().runs {
            let bits = try Vectors.bits(vector.bits)
            let (width, height) = (vector.width, vector.height)
            let runs = RunLengths(Mask(bits: bits, width: width, height: height, score: 0))
            #expect(runs.counts == vector.counts)
            #expect(runs.compressed == vector.compressed)
            #expect(runs.area == vector.area)
            let read = try RunLengths(compressed: vector.compressed, width: width, height: height)
            #expect(read == runs && read.bits == bits)
        }
    }

    @Test func checksumsEqualHashlibs() throws {
        for vector in try Vectors.all.get().digests {
            #expect(try SHA256.digest(ofFile: Vectors.url(vector.file)) == vector.sha256)
        }
    }

    /// Pytest reads what this writes.
    @Test func picturesAreWritten() throws {
        let image = try RGBImage(ppmFile: Vectors.url("resized7.ppm"))
        try image.ppm.write(to: Vectors.url("written.ppm"))
        let rgba = image.bytes.indices.flatMap { i in
            i % 3 == 2 ? [image.bytes[i], UInt8(i / 3 % 256)] : [image.bytes[i]]
        }
        try PNG.data(rgba: rgba, width: image.width, height: image.height)
            .write(to: Vectors.url("written-rgba.png"))
        let runs = try #require(Vectors.all.get().runs.last)
        let mask = Mask(
            bits: try Vectors.bits(runs.bits), width: runs.width, height: runs.height, score: 0)
        try PNG.data(mask).write(to: Vectors.url("written-mask.png"))
    }
}
