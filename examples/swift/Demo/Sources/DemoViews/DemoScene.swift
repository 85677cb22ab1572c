import DemoModel
import SegmentAnything
import SegmentAnythingImaging
import SwiftUI

/// The only window of the app: it asks for a model first, and then for pictures.
public struct DemoScene: Scene {
    /// The scene of the app, which loads the stored model if there is one.
    public init() {}

    /// One window.
    public var body: some Scene {
        WindowGroup("Segment") { ModelView() }
    }
}

/// Asks for the exported folder, loads it, and then shows pictures. The folder is copied so that the
/// app can load it again.
struct ModelView: View {
    @State private var session: SegmentationSession?
    @State private var message: String?
    @State private var isChoosing = false
    @State private var isLoading = false

    var body: some View {
        Group {
            if let session {
                PictureView(session: session)
            } else if isLoading {
                ProgressView("Loading the model…")
            } else {
                welcome
            }
        }
        .task { if ModelFolder.exists { await load() } }
        .fileImporter(isPresented: $isChoosing, allowedContentTypes: [.folder]) { result in
            Task { await take(result) }
        }
    }

    private var welcome: some View {
        ContentUnavailableView {
            Label("No model", systemImage: "square.on.circle")
        } description: {
            Text(message ?? "Choose the folder that sam-mlx export wrote.")
        } actions: {
            Button("Choose a folder…") { isChoosing = true }.buttonStyle(.borderedProminent)
        }
    }

    private func take(_ result: Result<URL, any Error>) async {
        do {
            let folder = try result.get()
            isLoading = true
            try await Task.detached { try ModelFolder.copy(folder) }.value
            await load()
        } catch {
            (message, isLoading) = (error.localizedDescription, false)
        }
    }

    private func load() async {
        isLoading = true
        defer { isLoading = false }
        do {
            let folder = ModelFolder.url
            // Reading and checking the files takes a second or more, too long for the main thread.
            let segmenter = try await Task.detached { try Segmenter(folder: folder) }.value
            session = SegmentationSession(segmenter: segmenter)
        } catch {
            message = error.localizedDescription
        }
    }
}

/// Where the app keeps its copy of the model.
enum ModelFolder {
    static var url: URL { .applicationSupportDirectory.appending(path: "SegmentDemo/Model") }
    static var exists: Bool { FileManager.default.fileExists(atPath: url.path) }

    static func copy(_ folder: URL) throws {
        let isScoped = folder.startAccessingSecurityScopedResource()
        defer { if isScoped { folder.stopAccessingSecurityScopedResource() } }
        _ = try ExportDescription(folder: folder)  // before the previous model is removed
        let parent = url.deletingLastPathComponent()
        try FileManager.default.createDirectory(at: parent, withIntermediateDirectories: true)
        if exists { try FileManager.default.removeItem(at: url) }
        try FileManager.default.copyItem(at: folder, to: url)
    }
}
