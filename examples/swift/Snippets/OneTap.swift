// From an exported folder to a mask. Compiled with MLX, and only parsed without.
#if canImport(SegmentAnything)
    import Foundation
    import SegmentAnything

    func mask(at place: PixelPoint, in picture: RGBImage, model folder: URL) async throws -> Mask {
        let segmenter = try Segmenter(folder: folder)  // once
        try await segmenter.setImage(picture)  // once per picture
        let prediction = try await segmenter.predict(points: [place])
        return prediction.masks[prediction.recommended]
    }
#endif
