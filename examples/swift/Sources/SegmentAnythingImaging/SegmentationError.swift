import Foundation

/// What can go wrong. `localizedDescription` is one sentence that says what was found, which rule it
/// breaks, and what to do next.
public enum SegmentationError: Error, Equatable {
    /// There is no folder at the path.
    case folderMissing(String)
    /// There is no file at the path.
    case fileMissing(String)
    /// The system does not allow the file to be read.
    case fileUnreadable(String, reason: String)
    /// The system does not allow the file to be written.
    case fileUnwritable(String, reason: String)
    /// The file does not have the length, in bytes, that it was written with.
    case fileCutShort(String, bytes: Int, expected: Int)
    /// The file has the right length but different contents.
    case checksumDiffers(String)
    /// MLX cannot load the file, or cannot run the function in it.
    case functionFails(String, reason: String)
    /// `export.json` is not what `sam-mlx export` writes.
    case malformedExport(reason: String)
    /// The format of `export.json` has a version that this package does not know.
    case formatVersion(Int, readable: Int)
    /// The files were not written by the MLX version in this program.
    case mlxVersion(String, needed: String)
    /// The files were not traced on the kind of device (`cpu`, `metal`, `cuda`) that they are to run
    /// on.
    case deviceKind(String, needed: String)
    /// The prompt has more points than the decoder has slots; a box takes two.
    case tooManyPoints(Int, slots: Int)
    /// There is no picture to prompt on.
    case noImage
    /// The picture, of this size in pixels, is empty or too large to count.
    case pictureSize(width: Int, height: Int)
    /// The number of channels is neither 3 (RGB) nor 4 (RGBA).
    case pictureChannels(Int)
    /// The rows of a picture overlap; strides are in bytes.
    case rowStride(Int, least: Int)
    /// There are fewer bytes than the picture's size needs.
    case pictureBytes(Int, needed: Int)
    /// The file is not a picture of the expected kind.
    case malformedPicture(reason: String)
    /// The coordinates of a point are not finite, or too large.
    case pointOutOfRange(PixelPoint)
    /// The corners of a box are in the wrong order, or their coordinates are not finite.
    case boxOutOfRange(PixelBox)
    /// The logits are not finite, or not as many as the model's masks have.
    case logits(Int, needed: Int)
    /// The embedding was made by another encoder; both are fingerprints.
    case embeddingOfOtherModel(String, needed: String)
    /// The file is not an embedding.
    case malformedEmbedding(reason: String)
    /// The run lengths do not describe a mask.
    case malformedRunLengths(reason: String)
}

extension SegmentationError: LocalizedError, CustomStringConvertible {
    /// The sentence to show to people.
    public var errorDescription: String? { description }

    /// What was found, the rule, and the next step.
    public var description: String {
        switch self {
        case .folderMissing, .fileMissing, .fileUnreadable, .fileUnwritable, .fileCutShort,
            .checksumDiffers, .functionFails:
            aboutFiles
        case .malformedExport, .formatVersion, .mlxVersion, .deviceKind:
            aboutExports
        case .pictureSize, .pictureChannels, .rowStride, .pictureBytes, .malformedPicture:
            aboutPictures
        default:
            aboutPrompts
        }
    }

    private var aboutFiles: String {
        switch self {
        case .folderMissing(let path):
            "there is no folder \(path); give the folder that sam-mlx export wrote"
        case .fileMissing(let path):
            "there is no file \(path); copy the whole folder that sam-mlx export wrote"
        case .fileUnreadable(let path, let reason):
            "\(path) cannot be read: \(reason); check who may read it"
        case .fileUnwritable(let path, let reason):
            "\(path) cannot be written: \(reason); choose a folder of your own"
        case .fileCutShort(let path, let bytes, let expected):
            "\(path) has only \(bytes) of \(expected) bytes; copy it again"
        case .checksumDiffers(let path):
            "\(path) differs from the file that export.json describes; copy the whole folder again"
        case .functionFails(let name, let reason):
            "MLX cannot run \(name): \(reason); export again with the MLX version of this program"
        default: ""
        }
    }

    private var aboutExports: String {
        switch self {
        case .malformedExport(let reason):
            "export.json is not what sam-mlx export writes: \(reason); export again"
        case .formatVersion(let version, let readable):
            "export.json has format version \(version), but this program reads \(readable); "
                + (version > readable ? "update this package" : "export again")
        case .mlxVersion(let version, let needed):
            "the files were exported with MLX \(version), but this program contains \(needed); "
                + "export them again after `pip install mlx==\(needed)`"
        case .deviceKind(let kind, let needed):
            "the files were traced on \(kind) and run only there, but this program computes on "
                + "\(needed); export them on a machine whose MLX uses \(needed)"
        default: ""
        }
    }

    private var aboutPictures: String {
        switch self {
        case .pictureSize(let width, let height):
            "a picture of \(width) by \(height) pixels cannot be used; each side must be 1 or "
                + "more, and the picture must fit into memory"
        case .pictureChannels(let channels):
            "a picture has \(channels) channels; expected 3 (RGB) or 4 (RGBA)"
        case .rowStride(let stride, let least):
            "with a row stride of \(stride) bytes, rows overlap; it must be \(least) or more, "
                + "which is width times channels"
        case .pictureBytes(let bytes, let needed):
            "a picture has \(bytes) bytes where its size needs \(needed); give all its rows"
        case .malformedPicture(let reason):
            "the picture cannot be read: \(reason); save it again as PPM (P6, 8 bits), or as PNG "
                + "or JPEG where the system reads these"
        default: ""
        }
    }

    private var aboutPrompts: String {
        switch self {
        case .tooManyPoints(let used, let slots):
            "the prompt takes \(used) points, where a box counts as two, but the decoder has slots "
                + "for \(slots); give fewer, or export with --points \(used)"
        case .noImage:
            "there is no picture to predict on; call setImage first"
        case .pointOutOfRange(let point):
            "the point \(point.x), \(point.y) is out of range; coordinates must be finite, in "
                + "pixels of the picture"
        case .boxOutOfRange(let box):
            "the box \(box.x0), \(box.y0), \(box.x1), \(box.y1) is invalid; expected finite "
                + "x0 <= x1 and y0 <= y1, in pixels of the picture"
        case .logits(let count, let needed):
            "a mask has \(count) finite logits, but the model's have \(needed); give the "
                + "lowResolution of an earlier mask"
        case .embeddingOfOtherModel(let found, let needed):
            "the embedding was made by encoder \(found), but this model has \(needed); encode the "
                + "picture again with setImage"
        case .malformedEmbedding(let reason):
            "the file is not an image embedding: \(reason); encode the picture again and save it"
        case .malformedRunLengths(let reason):
            "the run lengths do not describe a mask: \(reason); expected COCO's, column by column"
        default: ""
        }
    }
}
