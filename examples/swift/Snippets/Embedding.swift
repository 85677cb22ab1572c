// An encoded picture as a file. Compiled with MLX, and only parsed without.
#if canImport(SegmentAnything)
    import Foundation
    import SegmentAnything

    func keep(_ segmenter: Segmenter, at file: URL) async throws {
        try await segmenter.embedding().write(to: file)
        try await segmenter.setEmbedding(ImageEmbedding(contentsOf: file))
    }
#endif
