import Foundation
import MLX
import SegmentAnythingImaging

/// An encoded picture with its sizes, which is all that prompts need. Its file format is that of
/// Python's `sam_mlx.ImageEmbedding`. Any thread may use it.
public struct ImageEmbedding: Sendable, Equatable {
    /// The type of the values.
    public enum FloatType: String, Sendable {
        case float32 = "F32"
        case float16 = "F16"
        case bfloat16 = "BF16"

        var dtype: DType {
            switch self {
            case .float32: .float32
            case .float16: .float16
            case .bfloat16: .bfloat16
            }
        }

        init(_ dtype: DType) throws {
            switch dtype {
            case .float32: self = .float32
            case .float16: self = .float16
            case .bfloat16: self = .bfloat16
            default: throw malformed("its values are \(dtype), not floats")
            }
        }
    }

    /// What a decoder takes beside the embedding, as SAM-HQ's does; of the same type as the embedding.
    public struct Feature: Sendable, Equatable {
        /// The name in `export.json`.
        public let name: String
        /// The values, row by row, channels last, in little-endian byte order.
        public let values: Data
        /// The lengths of the axes: 1, rows, columns, channels.
        public let shape: [Int]
    }

    /// The values, row by row, channels last, in little-endian byte order.
    public let features: Data
    /// The lengths of the axes: 1, rows, columns, channels.
    public let shape: [Int]
    /// Other features, in the order in which the decoder takes them; SAM's takes none.
    public let otherFeatures: [Feature]
    /// The type of all features.
    public let type: FloatType
    /// The height and the width of the original picture, in pixels.
    public let originalSize: [Int]
    /// The height and the width of the resized picture, in pixels.
    public let inputSize: [Int]
    /// Identifies the encoder that made it.
    public let fingerprint: String

    init(
        features: Data, shape: [Int], otherFeatures: [Feature], type: FloatType, frame: InputFrame,
        fingerprint: String
    ) {
        (self.features, self.shape, self.type) = (features, shape, type)
        self.otherFeatures = otherFeatures
        originalSize = [frame.originalHeight, frame.originalWidth]
        inputSize = [frame.height, frame.width]
        self.fingerprint = fingerprint
    }

    /// The embedding and the other features.
    var all: [Feature] {
        [Feature(name: Self.main, values: features, shape: shape)] + otherFeatures
    }

    /// The frame of the picture for an encoder that sees `side` by `side` pixels.
    func frame(side: Int) throws -> InputFrame {
        let frame = try InputFrame(width: originalSize[1], height: originalSize[0], side: side)
        guard inputSize == [frame.height, frame.width] else {
            throw malformed("a picture of \(originalSize) was resized to \(inputSize)")
        }
        return frame
    }

    /// Throws if it was not made by the encoder of the described model.
    func check(_ description: ExportDescription) throws {
        guard fingerprint == description.fingerprint else {
            throw SegmentationError.embeddingOfOtherModel(
                String(fingerprint.prefix(64)), needed: description.fingerprint)
        }
        guard shape == description.embeddingShape, "\(type.dtype)" == description.dtype else {
            throw malformed(
                "its features are \(type.dtype) \(shape), the model's "
                    + "\(description.dtype) \(description.embeddingShape)")
        }
        let needed = description.features.dropFirst()
        guard otherFeatures.map(\.name) == needed.map(\.name),
            otherFeatures.map(\.shape) == needed.map(\.shape)
        else {
            throw malformed(
                "beside the embedding it has \(otherFeatures.map(\.name)), the model "
                    + "\(needed.map(\.name))")
        }
    }
}

/// The file, in the format of safetensors: the embedding, other features, and four or five texts.
extension ImageEmbedding {
    private struct Header: Codable {
        struct Texts: Codable {
            let format, fingerprint, originalSize, inputSize: String
            let version: String?

            enum CodingKeys: String, CodingKey {
                case format, fingerprint, version
                case originalSize = "original_size"
                case inputSize = "input_size"
            }
        }
        struct Tensor: Codable {
            let dtype: String
            let shape, offsets: [Int]

            enum CodingKeys: String, CodingKey {
                case dtype, shape
                case offsets = "data_offsets"
            }
        }
        /// A tensor's name, or that of the texts.
        struct Name: CodingKey, Hashable {
            let stringValue: String
            var intValue: Int? { nil }
            static let texts = Name("__metadata__")

            init(_ name: String) { stringValue = name }
            init?(stringValue: String) { self.init(stringValue) }
            init?(intValue: Int) { nil }
        }
        let texts: Texts
        let tensors: [String: Tensor]

        init(texts: Texts, tensors: [String: Tensor]) {
            (self.texts, self.tensors) = (texts, tensors)
        }

        init(from decoder: Decoder) throws {
            let entries = try decoder.container(keyedBy: Name.self)
            texts = try entries.decode(Texts.self, forKey: .texts)
            var tensors: [String: Tensor] = [:]
            for name in entries.allKeys where name != .texts {
                tensors[name.stringValue] = try entries.decode(Tensor.self, forKey: name)
            }
            self.tensors = tensors
        }

        func encode(to encoder: Encoder) throws {
            var entries = encoder.container(keyedBy: Name.self)
            try entries.encode(texts, forKey: .texts)
            for (name, tensor) in tensors { try entries.encode(tensor, forKey: Name(name)) }
        }
    }

    private static let main = "features"
    private static let format = "sam_mlx.ImageEmbedding"
    /// Without other features files are of version 1, which is not written down.
    private static let versions: [String?] = [nil, "1", "2"]
    private static let longestHeader = 1 << 20

    /// Reads a file written by ``write(to:)`` or by Python's `ImageEmbedding.save`.
    ///
    /// - Throws: ``SegmentationError/fileMissing(_:)``, ``SegmentationError/fileUnreadable(_:reason:)``
    ///   or ``SegmentationError/malformedEmbedding(reason:)``.
    public init(contentsOf url: URL) throws {
        guard FileManager.default.fileExists(atPath: url.path) else {
            throw SegmentationError.fileMissing(url.path)
        }
        do {
            try self.init(data: Data(contentsOf: url))
        } catch let error as CocoaError {
            throw SegmentationError.fileUnreadable(url.path, reason: error.localizedDescription)
        }
    }

    /// Reads the bytes of such a file.
    public init(data: Data) throws {
        let data = Data(data)  // its indices begin at 0
        guard data.count >= 8 else { throw malformed("it is cut short") }
        let length = data.prefix(8).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        guard length <= Self.longestHeader, data.count - 8 >= length else {
            throw malformed("its header does not fit in it")
        }
        let header: Header
        do {
            header = try JSONDecoder().decode(Header.self, from: data[8..<8 + Int(length)])
        } catch {
            throw malformed("its header is not that of an embedding")
        }
        guard header.texts.format == Self.format else {
            throw malformed("it was not written by ImageEmbedding")
        }
        guard Self.versions.contains(header.texts.version) else {
            throw malformed("its version is \(header.texts.version!.prefix(20))")
        }
        guard let first = header.tensors[Self.main], let type = FloatType(rawValue: first.dtype)
        else {
            let dtype = header.tensors[Self.main]?.dtype ?? "missing"
            throw malformed("its values are \(dtype.prefix(20)), not floats")
        }
        let body = data.suffix(from: 8 + Int(length))
        let names = header.tensors.keys.filter { $0 != Self.main }.sorted()
        let all = try ([Self.main] + names).map {
            try Self.feature($0, header.tensors[$0]!, type, body)
        }
        guard all.reduce(0, { $0 + $1.values.count }) == body.count else {
            throw malformed("its tensors do not fill it")
        }
        (features, shape, self.type) = (all[0].values, all[0].shape, type)
        otherFeatures = Array(all.dropFirst())
        fingerprint = header.texts.fingerprint
        originalSize = try Self.size(header.texts.originalSize)
        inputSize = try Self.size(header.texts.inputSize)
    }

    /// A tensor in the bytes after the header.
    private static func feature(
        _ name: String, _ tensor: Header.Tensor, _ type: FloatType, _ body: Data
    ) throws -> Feature {
        let (shape, offsets) = (tensor.shape, tensor.offsets)
        guard shape.count == 4, shape.allSatisfy({ (1...1 << 14).contains($0) }),
            tensor.dtype == type.rawValue, offsets.count == 2, 0 <= offsets[0],
            offsets[0] <= offsets[1], offsets[1] <= body.count,
            offsets[1] - offsets[0] == shape.reduce(type.dtype.size, *)
        else { throw malformed("\(name.prefix(40)) of \(shape.prefix(9)) do not fit") }
        let values = Data(body.dropFirst(offsets[0]).prefix(offsets[1] - offsets[0]))
        let own = name.hasPrefix("\(main).") ? String(name.dropFirst(main.count + 1)) : name
        return Feature(name: own, values: values, shape: shape)
    }

    /// Writes the file, either completely or not at all.
    ///
    /// - Throws: ``SegmentationError/fileUnwritable(_:reason:)``.
    public func write(to url: URL) throws {
        do {
            try data().write(to: url, options: .atomic)
        } catch {
            throw SegmentationError.fileUnwritable(url.path, reason: error.localizedDescription)
        }
    }

    /// The bytes of the file.
    public func data() throws -> Data {
        let texts = Header.Texts(
            format: Self.format, fingerprint: fingerprint, originalSize: "\(originalSize)",
            inputSize: "\(inputSize)", version: otherFeatures.isEmpty ? nil : "2")
        var (tensors, body): ([String: Header.Tensor], Data) = ([:], Data())
        for feature in all {
            let name = feature.name == Self.main ? Self.main : "\(Self.main).\(feature.name)"
            let end = body.count + feature.values.count
            tensors[name] = Header.Tensor(
                dtype: type.rawValue, shape: feature.shape, offsets: [body.count, end])
            body += feature.values
        }
        var header = try JSONEncoder().encode(Header(texts: texts, tensors: tensors))
        header.append(contentsOf: [UInt8](repeating: 0x20, count: (8 - header.count % 8) % 8))
        let length = (0..<8).map { UInt8(header.count >> (8 * $0) & 255) }
        return Data(length) + header + body
    }

    private static func size(_ text: String) throws -> [Int] {
        guard let size = try? JSONDecoder().decode([Int].self, from: Data(text.utf8)),
            size.count == 2
        else { throw malformed("\(text.prefix(40)) is not a height and a width") }
        return size
    }
}

private func malformed(_ reason: String) -> SegmentationError {
    .malformedEmbedding(reason: reason)
}
