import Foundation
import MLX
@_exported import SegmentAnythingImaging

/// Segments objects in one picture at a time, with the files that `sam-mlx export` wrote.
///
/// A picture is encoded once, which takes long; prompts on it are quick. Any task may call the actor,
/// which answers one call after another. The calls of all tasks refer to the same picture, the one
/// that was set last.
public actor Segmenter: Segmenting {
    /// The version of MLX in the release of mlx-swift that this package depends on, 0.31.6. Exported
    /// files can be read only by the version that wrote them.
    public static let mlxVersion = "0.31.1"

    /// The description in the exported folder.
    public nonisolated let description: ExportDescription
    private let encoder: ExportedFunction
    private let decoder: ExportedFunction
    /// The features are all outputs of the encoder: with SAM-HQ the embedding is not the only one.
    private var picture: (features: [MLXArray], scaling: MaskScaling)?

    /// Loads an exported folder.
    ///
    /// - Parameters:
    ///   - folder: what `sam-mlx export` wrote.
    ///   - checksums: whether to compare every file with the checksum in `export.json`, for which it
    ///     is read once more; otherwise only its length is compared.
    ///   - cacheLimit: how many bytes of freed buffers MLX keeps for reuse, in the whole process.
    ///     Without a limit it would keep the encoder's temporaries, hundreds of megabytes.
    /// - Throws: a ``SegmentationError`` if the folder or a file is missing or damaged, or is for
    ///   another version of MLX or another kind of device.
    public init(folder: URL, checksums: Bool = true, cacheLimit: Int = 64 << 20) throws {
        description = try ExportDescription(folder: folder)
        // Before MLX reads the files: with another version it would end in a memory error.
        try description.check(mlxVersion: Self.mlxVersion, deviceKind: Self.deviceKind)
        try description.checkFiles(in: folder, checksums: checksums)
        Memory.cacheLimit = cacheLimit
        encoder = try ExportedFunction("encoder.mlxfn", in: folder, description)
        decoder = try ExportedFunction("decoder.mlxfn", in: folder, description)
    }

    /// The kind of device that MLX computes on in this process: `cpu`, `metal` or `cuda`.
    public static var deviceKind: String {
        guard Device.defaultDevice().deviceType == .gpu else { return "cpu" }
        #if canImport(Metal)
            return "metal"
        #else
            return "cuda"
        #endif
    }

    /// Encodes a picture, to which prompts refer from then on.
    ///
    /// - Throws: a ``SegmentationError``, or `CancellationError` if the calling task is cancelled
    ///   before or during encoding. The previous picture is then kept.
    public func setImage(_ image: RGBImage) throws {
        try Task.checkCancellation()
        let frame = try InputFrame(
            width: image.width, height: image.height, side: description.imageSize)
        let side = description.imageSize
        let pixels = MLXArray(frame.square(image), [1, side, side, 3])
        let outputs = try encoder([pixels, MLXArray(size(of: frame))])
        try Task.checkCancellation()
        picture = (outputs, MaskScaling(frame: frame, maskSize: description.maskSize))
    }

    /// The masks for one prompt on the picture.
    ///
    /// - Parameters:
    ///   - points: in pixels of the original picture; they may be outside it.
    ///   - box: in pixels of the original picture; it takes two of the decoder's slots.
    ///   - maskInput: the ``Mask/lowResolution`` of an earlier mask that is to be refined.
    /// - Returns: one mask for a clear prompt, or three readings of a single point, which may mean a
    ///   part or the whole.
    /// - Throws: a ``SegmentationError``, or `CancellationError`.
    public func predict(
        points: [PixelPoint], box: PixelBox? = nil, maskInput: [Float]? = nil
    ) throws -> Prediction {
        try predict(points: points, box: box, maskInput: maskInput, keepLogits: false)
    }

    /// Like ``predict(points:box:maskInput:)``. With `keepLogits`, masks have their ``Mask/logits`` at
    /// the picture's size, with four bytes per pixel.
    public func predict(
        points: [PixelPoint], box: PixelBox? = nil, maskInput: [Float]? = nil, keepLogits: Bool
    ) throws -> Prediction {
        try Task.checkCancellation()
        let (features, scaling) = try current()
        let slots = try description.slots(points: points.count, hasBox: box != nil)
        let prompt = try scaling.frame.slots(points: points, box: box, slots: slots)
        var inputs =
            features + [
                MLXArray(prompt.coordinates, [1, slots, 2]), MLXArray(prompt.labels, [1, slots]),
                MLXArray(size(of: scaling.frame)),
            ]
        let side = description.maskSize
        if let maskInput {
            guard maskInput.count == side * side, maskInput.allSatisfy(\.isFinite) else {
                throw SegmentationError.logits(maskInput.count, needed: side * side)
            }
            inputs.append(MLXArray(maskInput, [1, 1, side, side]))
        }
        let outputs = try decoder(inputs)
        let (scores, logits) = (outputs[1].asArray(Float.self), outputs[4].asArray(Float.self))

        let reason = Prediction.Reason(points: points, box: box, maskInput: maskInput)
        let masks = try (reason == .clearPrompt ? 0...0 : 1...3).map { i in
            try scaling.mask(
                Array(logits[i * side * side..<(i + 1) * side * side]), score: scores[i],
                threshold: description.threshold, keepLogits: keepLogits)
        }
        return Prediction(masks: masks, reason: reason)
    }

    /// The picture as a value that can be saved, shipped and set again, here or in Python.
    ///
    /// - Throws: ``SegmentationError/noImage``.
    public func embedding() throws -> ImageEmbedding {
        let (features, scaling) = try current()
        let stored = features.map { $0.asData(access: .copy) }
        let others = zip(description.features, stored).dropFirst().map {
            ImageEmbedding.Feature(name: $0.name, values: $1.data, shape: $1.shape)
        }
        return ImageEmbedding(
            features: stored[0].data, shape: stored[0].shape, otherFeatures: others,
            type: try .init(stored[0].dType), frame: scaling.frame,
            fingerprint: description.fingerprint)
    }

    /// Continues with a picture that was encoded earlier, by a model with the same encoder.
    ///
    /// - Throws: ``SegmentationError/embeddingOfOtherModel(_:needed:)`` or
    ///   ``SegmentationError/malformedEmbedding(reason:)``; the previous picture is then kept.
    public func setEmbedding(_ embedding: ImageEmbedding) throws {
        let frame = try embedding.frame(side: description.imageSize)
        try embedding.check(description)
        let features = embedding.all.map {
            MLXArray($0.values, $0.shape, dtype: embedding.type.dtype)
        }
        picture = (features, MaskScaling(frame: frame, maskSize: description.maskSize))
    }

    /// Forgets the picture.
    public func reset() {
        picture = nil
    }

    private func current() throws -> (features: [MLXArray], scaling: MaskScaling) {
        guard let picture else { throw SegmentationError.noImage }
        return picture
    }

    private func size(of frame: InputFrame) -> [Int32] {
        [Int32(frame.height), Int32(frame.width)]
    }
}

/// A function in an exported file. It throws ``SegmentationError/functionFails(_:reason:)``.
private struct ExportedFunction {
    let name: String
    let function: ImportedFunction

    init(_ name: String, in folder: URL, _ description: ExportDescription) throws {
        self.name = name
        function = try Self.catching(name) {
            try importFunction(from: folder.appendingPathComponent(name))
        }
    }

    /// The evaluated outputs.
    func callAsFunction(_ inputs: [MLXArray]) throws -> [MLXArray] {
        try Self.catching(name) {
            let outputs =
                switch inputs.count {  // variadic: an array cannot be passed
                case 2: try function(inputs[0], inputs[1])
                case 4: try function(inputs[0], inputs[1], inputs[2], inputs[3])
                case 5: try function(inputs[0], inputs[1], inputs[2], inputs[3], inputs[4])
                default:
                    try function(
                        inputs[0], inputs[1], inputs[2], inputs[3], inputs[4], inputs[5])
                }
            eval(outputs)
            return outputs
        }
    }

    private static func catching<R>(_ name: String, _ body: () throws -> R) throws -> R {
        do {
            return try withError(body)
        } catch {
            throw SegmentationError.functionFails(name, reason: error.localizedDescription)
        }
    }
}
