// More than a point. Compiled with MLX, and only parsed without.
#if canImport(SegmentAnything)
    import SegmentAnything

    func refine(_ segmenter: Segmenter) async throws -> Mask {
        let cup = PixelBox(x0: 120, y0: 80, x1: 410, y1: 366)
        let handle = PixelPoint(x: 396, y: 210)
        let table = PixelPoint(x: 130, y: 350, isObject: false)
        let first = try await segmenter.predict(points: [handle, table], box: cup)
        let second = try await segmenter.predict(
            points: [handle], maskInput: first.masks[0].lowResolution)
        return second.masks[second.recommended]
    }
#endif
