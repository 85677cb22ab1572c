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

    /// The values, row by row, channels last, in little-endian byte order.
    public let features: Data
    /// The lengths of the axes: 1, rows, columns, channels.
    public let shape: [Int]
    /// The type of `features`.
    public let type: FloatType
    /// The height and the width of the original picture, in pixels.
    public let originalSize: [Int]
    /// The height and the width of the resized picture, in pixels.
    public let inputSize: [Int]
    /// Identifies the encoder that made it.
    public let fingerprint: String

    init(features: Data, shape: [Int], type: FloatType, frame: InputFrame, fingerprint: String) {
        (self.features, self.shape, self.type) = (features, shape, type)
        originalSize = [frame.originalHeight, frame.originalWidth]
        inputSize = [frame.height, frame.width]
        self.fingerprint = fingerprint
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
    }
}

/// The file, in the format of safetensors, with one tensor and four texts.
extension ImageEmbedding {
    private struct Header: Codable {
        struct Texts: Codable {
            let format, fingerprint, originalSize, inputSize: String

            enum CodingKeys: String, CodingKey {
                case format, fingerprint
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
        let texts: Texts
        let features: Tensor

        enum CodingKeys: String, CodingKey {
            case features
            case texts = "__metadata__"
        }
    }

    private static let format = "sam_mlx.ImageEmbedding"
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
        guard let type = FloatType(rawValue: header.features.dtype) else {
            throw malformed("its values are \(header.features.dtype.prefix(20)), not floats")
        }
        let shape = header.features.shape
        features = data.suffix(from: 8 + Int(length))
        guard shape.count == 4, shape.allSatisfy({ (1...1 << 14).contains($0) }),
            header.features.offsets == [0, features.count],
            features.count == shape.reduce(type.dtype.size, *)
        else { throw malformed("features of \(shape.prefix(9)) have \(features.count) bytes") }
        (self.shape, self.type, fingerprint) = (shape, type, header.texts.fingerprint)
        originalSize = try Self.size(header.texts.originalSize)
        inputSize = try Self.size(header.texts.inputSize)
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
            inputSize: "\(inputSize)")
        let tensor = Header.Tensor(
            dtype: type.rawValue, shape: shape, offsets: [0, features.count])
        var header = try JSONEncoder().encode(Header(texts: texts, features: tensor))
        header.append(contentsOf: [UInt8](repeating: 0x20, count: (8 - header.count % 8) % 8))
        let length = (0..<8).map { UInt8(header.count >> (8 * $0) & 255) }
        return Data(length) + header + features
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
