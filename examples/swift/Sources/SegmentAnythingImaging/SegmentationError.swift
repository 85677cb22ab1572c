import Foundation

/// What can go wrong. Every case says in one sentence what was found, which rule it breaks and
/// what to do next; `localizedDescription` is that sentence.
public enum SegmentationError: Error, Equatable {
    /// No folder at the path.
    case folderMissing(String)
    /// No file at the path.
    case fileMissing(String)
    /// The system does not let the file be read.
    case fileUnreadable(String, reason: String)
    /// The system does not let the file be written.
    case fileUnwritable(String, reason: String)
    /// The file has another length, in bytes, than when it was written.
    case fileCutShort(String, bytes: Int, expected: Int)
    /// The file has its length, and other bytes.
    case checksumDiffers(String)
    /// MLX cannot load the file, or compute what it holds.
    case functionFails(String, reason: String)
    /// `export.json` is not what `sam-mlx export` writes.
    case malformedExport(reason: String)
    /// `export.json` has a version of its format that this package does not know.
    case formatVersion(Int, readable: Int)
    /// The files were written by another MLX than the one in this program.
    case mlxVersion(String, needed: String)
    /// The files were traced on another kind of device (`cpu`, `metal`, `cuda`) than they are
    /// to run on.
    case deviceKind(String, needed: String)
    /// More points than the decoder has slots; a box takes two.
    case tooManyPoints(Int, slots: Int)
    /// A prompt before a picture.
    case noImage
    /// A picture without pixels, or with more than can be counted; in pixels.
    case pictureSize(width: Int, height: Int)
    /// A number of channels that is neither 3 (RGB) nor 4 (RGBA).
    case pictureChannels(Int)
    /// Rows of a picture that overlap; in bytes.
    case rowStride(Int, least: Int)
    /// Fewer bytes than the picture's size needs.
    case pictureBytes(Int, needed: Int)
    /// A file that is not a picture of the kind expected.
    case malformedPicture(reason: String)
    /// A point with coordinates that are no numbers, or too large.
    case pointOutOfRange(PixelPoint)
    /// A box with corners in the wrong order, or coordinates that are no numbers.
    case boxOutOfRange(PixelBox)
    /// Logits of another number than the model's masks have, or that are no numbers.
    case logits(Int, needed: Int)
    /// An embedding by another encoder; fingerprints.
    case embeddingOfOtherModel(String, needed: String)
    /// A file that is not an embedding.
    case malformedEmbedding(reason: String)
    /// Run lengths that do not describe a mask.
    case malformedRunLengths(reason: String)
}

extension SegmentationError: LocalizedError, CustomStringConvertible {
    /// The sentence for people.
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
            "\(path) has \(bytes) bytes of \(expected); copy it again"
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
            "export.json has format version \(version), this program reads \(readable); "
                + (version > readable ? "update this package" : "export again")
        case .mlxVersion(let version, let needed):
            "the files were exported with MLX \(version), this program contains \(needed); "
                + "export again where `pip install mlx==\(needed)` was run"
        case .deviceKind(let kind, let needed):
            "the files were traced on \(kind) and run there only, this program computes on "
                + "\(needed); export on a machine whose MLX uses \(needed)"
        default: ""
        }
    }

    private var aboutPictures: String {
        switch self {
        case .pictureSize(let width, let height):
            "a picture of \(width) by \(height) pixels cannot be used; each side must be 1 or "
                + "more, and the picture fit into memory"
        case .pictureChannels(let channels):
            "a picture has \(channels) channels; expected 3 (RGB) or 4 (RGBA)"
        case .rowStride(let stride, let least):
            "a row stride of \(stride) bytes lets rows overlap; it must be \(least) or more, "
                + "width times channels"
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
            "the prompt takes \(used) points, a box counting as two, and the decoder has slots "
                + "for \(slots); give fewer, or export with --points \(used)"
        case .noImage:
            "there is no picture to predict on; call setImage first"
        case .pointOutOfRange(let point):
            "the point \(point.x), \(point.y) is no place; coordinates must be finite, in pixels "
                + "of the picture"
        case .boxOutOfRange(let box):
            "the box \(box.x0), \(box.y0), \(box.x1), \(box.y1) is no box; expected finite "
                + "x0 <= x1 and y0 <= y1, in pixels of the picture"
        case .logits(let count, let needed):
            "a mask has \(count) finite logits where the model's have \(needed); give the "
                + "lowResolution of an earlier mask"
        case .embeddingOfOtherModel(let found, let needed):
            "the embedding was made by encoder \(found), this model's is \(needed); encode the "
                + "picture again with setImage"
        case .malformedEmbedding(let reason):
            "the file is no image embedding: \(reason); encode the picture again and save it"
        case .malformedRunLengths(let reason):
            "the run lengths describe no mask: \(reason); expected those of COCO, column by column"
        default: ""
        }
    }
}
