import Foundation

/// `export.json`, which `sam-mlx export` writes beside the model's files. Any thread may use it.
public struct ExportDescription: Decodable, Sendable, Equatable {
    /// The version of `export.json` that this package reads.
    public static let readableVersion = 1

    /// One file of the model.
    public struct File: Decodable, Sendable, Equatable {
        /// The checksum of the whole file, in hexadecimal digits.
        public let sha256: String
        /// The length of the file in bytes.
        public let bytes: Int
        /// The signatures of the function in the file.
        public let traces: [Trace]
    }

    /// One signature of a function: its inputs and outputs in order.
    public struct Trace: Decodable, Sendable, Equatable {
        /// The positional inputs.
        public let inputs: [Tensor]
        /// The outputs, in the order in which the function returns them.
        public let outputs: [Tensor]
    }

    /// An input or an output.
    public struct Tensor: Decodable, Sendable, Equatable {
        /// The name in `export.json`.
        public let name: String
        /// The lengths of the axes.
        public let shape: [Int]
        /// The type, named as in MLX for Python: `float32`, `uint8`, ...
        public let dtype: String
    }

    /// How pixels become the encoder's input.
    public struct Preprocessing: Decodable, Sendable, Equatable {
        /// The order of the channels: `RGB`.
        public let channels: String
        /// The smallest and the largest value of a pixel.
        public let range: [Double]
    }

    private struct Version: Decodable {
        let format: String
        let formatVersion: Int

        enum CodingKeys: String, CodingKey {
            case format
            case formatVersion = "format_version"
        }
    }

    struct Device: Decodable, Sendable, Equatable { let kind: String }
    struct MLX: Decodable, Sendable, Equatable { let version: String }
    struct Masks: Decodable, Sendable, Equatable { let threshold: Float }

    let format: String
    /// The version of the description's format.
    public let formatVersion: Int
    /// What was exported, in words.
    public let model: String
    /// Identifies the encoder, whose embeddings alone the decoder takes.
    public let fingerprint: String
    /// The type of the weights: `float32`, `float16` or `bfloat16`.
    public let dtype: String
    let device: Device
    let mlx: MLX
    /// The side of the square that the encoder sees, in pixels.
    public let imageSize: Int
    /// The side of the decoder's low-resolution logits.
    public let maskSize: Int
    /// The numbers of prompt slots that the decoder was traced with, ascending; a box takes two.
    public let points: [Int]
    /// How pixels become the encoder's input.
    public let preprocessing: Preprocessing
    let masks: Masks
    /// The files of the folder, by name.
    public let files: [String: File]

    /// The kind of device that the files run on: `cpu`, `metal` or `cuda`.
    public var deviceKind: String { device.kind }
    /// The version of MLX that wrote the files, and that loads them.
    public var mlxVersion: String { mlx.version }
    /// Logits above this value are on the object.
    public var threshold: Float { masks.threshold }
    /// The encoder's outputs, which are the decoder's first inputs: the embedding, and with SAM-HQ
    /// finer features.
    public var features: [Tensor] { files["encoder.mlxfn"]!.traces[0].outputs }
    /// The shape of an embedding: 1, rows, columns, channels.
    public var embeddingShape: [Int] { features[0].shape }

    enum CodingKeys: String, CodingKey {
        case format, model, fingerprint, dtype, device, mlx, points, preprocessing, masks, files
        case formatVersion = "format_version"
        case imageSize = "image_size"
        case maskSize = "mask_size"
    }
}

extension ExportDescription {
    /// Reads the description in an exported folder.
    ///
    /// Throws a ``SegmentationError`` if the folder or the file is missing, or if the description is
    /// malformed or has another format version. The other files are not read.
    public init(folder: URL) throws {
        var isFolder: ObjCBool = false
        guard FileManager.default.fileExists(atPath: folder.path, isDirectory: &isFolder),
            isFolder.boolValue
        else { throw SegmentationError.folderMissing(folder.path) }
        try self.init(json: readFile(folder.appendingPathComponent("export.json")))
    }

    /// Reads the bytes of an `export.json`.
    public init(json: Data) throws {
        do {
            // The version comes first, because everything else may depend on it.
            let version = try JSONDecoder().decode(Version.self, from: json)
            guard version.format == "sam_mlx.export" else {
                throw SegmentationError.malformedExport(reason: "its format is \(version.format)")
            }
            guard version.formatVersion == Self.readableVersion else {
                throw SegmentationError.formatVersion(
                    version.formatVersion, readable: Self.readableVersion)
            }
            self = try JSONDecoder().decode(Self.self, from: json)
        } catch let error as DecodingError {
            throw SegmentationError.malformedExport(reason: inWords(error))
        }
        if let fault { throw SegmentationError.malformedExport(reason: fault) }
    }

    /// The first decoded value that is impossible, in words.
    private var fault: String? {
        if imageSize < 1 || imageSize > 1 << 14 { return "image_size is \(imageSize)" }
        if maskSize < 1 || maskSize > imageSize { return "mask_size is \(maskSize)" }
        if points.isEmpty || points.contains(where: { $0 < 1 }) || points != points.sorted() {
            return "points is \(points)"
        }
        if preprocessing.channels != "RGB" || preprocessing.range != [0, 255] {
            return "its pixels are \(preprocessing.channels) in \(preprocessing.range)"
        }
        for name in ["encoder.mlxfn", "decoder.mlxfn"] {
            guard let file = files[name], let trace = file.traces.first,
                let output = trace.outputs.first, file.bytes >= 0
            else { return "it does not describe \(name)" }
            if output.shape.count != 4 || output.shape.contains(where: { $0 < 1 }) {
                return "the first output of \(name) has shape \(output.shape)"
            }
        }
        for feature in features
        where feature.shape.count != 4 || feature.shape.contains(where: { $0 < 1 }) {
            return "\(feature.name) of encoder.mlxfn has shape \(feature.shape)"
        }
        return nil
    }

    /// Throws if the files are for another version of MLX or another kind of device (`cpu`, `metal`,
    /// `cuda`) than the program's. MLX itself would end in a memory error or worse.
    public func check(mlxVersion needed: String, deviceKind kind: String) throws {
        guard mlxVersion == needed else {
            throw SegmentationError.mlxVersion(mlxVersion, needed: needed)
        }
        guard deviceKind == kind else {
            throw SegmentationError.deviceKind(deviceKind, needed: kind)
        }
    }

    /// Throws if a file of the folder is missing or does not have the described length; with
    /// `checksums` also if its contents differ, for which every file is read once.
    public func checkFiles(in folder: URL, checksums: Bool = true) throws {
        for (name, file) in files.sorted(by: { $0.key < $1.key }) {
            let url = folder.appendingPathComponent(name)
            let bytes = try fileSize(url)
            guard bytes == file.bytes else {
                throw SegmentationError.fileCutShort(url.path, bytes: bytes, expected: file.bytes)
            }
            if checksums, try SHA256.digest(ofFile: url) != file.sha256 {
                throw SegmentationError.checksumDiffers(url.path)
            }
        }
    }

    /// The smallest number of slots that a prompt fits into; a box takes two.
    ///
    /// Throws ``SegmentationError/tooManyPoints(_:slots:)``.
    public func slots(points used: Int, hasBox: Bool) throws -> Int {
        let used = used + (hasBox ? 2 : 0)
        guard let slots = points.first(where: { $0 >= used }) else {
            throw SegmentationError.tooManyPoints(used, slots: points.last!)
        }
        return slots
    }
}

/// The bytes of a file, or an error that names it.
func readFile(_ url: URL) throws -> Data {
    _ = try fileSize(url)
    do {
        return try Data(contentsOf: url)
    } catch {
        throw SegmentationError.fileUnreadable(url.path, reason: error.localizedDescription)
    }
}

private func fileSize(_ url: URL) throws -> Int {
    var isFolder: ObjCBool = false
    guard FileManager.default.fileExists(atPath: url.path, isDirectory: &isFolder),
        !isFolder.boolValue
    else { throw SegmentationError.fileMissing(url.path) }
    do {
        let attributes = try FileManager.default.attributesOfItem(
            atPath: url.resolvingSymlinksInPath().path)
        return (attributes[.size] as? NSNumber)?.intValue ?? 0
    } catch {
        throw SegmentationError.fileUnreadable(url.path, reason: error.localizedDescription)
    }
}

/// Where the error is in the JSON, and what it is.
private func inWords(_ error: DecodingError) -> String {
    func place(_ context: DecodingError.Context) -> String {
        let path = context.codingPath.map { $0.intValue.map(String.init) ?? $0.stringValue }
        return path.isEmpty ? "at the top level" : "at \(path.joined(separator: "."))"
    }
    return switch error {
    case .keyNotFound(let key, let context): "\(key.stringValue) is missing \(place(context))"
    case .typeMismatch(let type, let context): "the value \(place(context)) is not of type \(type)"
    case .valueNotFound(let type, let context): "the value \(place(context)) is null, not \(type)"
    case .dataCorrupted(let context) where context.codingPath.isEmpty: "it is not JSON"
    case .dataCorrupted(let context): "the value \(place(context)) is not readable"
    @unknown default: "it cannot be decoded"
    }
}
