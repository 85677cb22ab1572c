import DemoModel
import PhotosUI
import SegmentAnythingImaging
import SwiftUI
import UniformTypeIdentifiers

/// A picture and its tools.
struct PictureView: View {
    @Bindable var session: SegmentationSession
    @State private var photo: PhotosPickerItem?
    @State private var isImporting = false
    @State private var isTargeted = false

    var body: some View {
        NavigationStack {
            content
                .toolbar { tools }
                .navigationTitle("Segment")
        }
        .dropDestination(for: Data.self) { items, _ in
            items.first.map(open) != nil
        } isTargeted: {
            isTargeted = $0
        }
        .fileImporter(isPresented: $isImporting, allowedContentTypes: [.image]) { open($0) }
        .onChange(of: photo) { _, item in Task { await open(item) } }
        .safeAreaInset(edge: .bottom) { footer }
        .overlay { if isTargeted { Rectangle().stroke(.tint, lineWidth: 4) } }
    }

    @ViewBuilder private var content: some View {
        if let picture = session.picture {
            CanvasView(session: session, picture: picture)
        } else {
            ContentUnavailableView {
                Label("No picture", systemImage: "photo")
            } description: {
                Text("Choose a photograph, open a file, or drop a picture here.")
            } actions: {
                photosPicker.buttonStyle(.borderedProminent)
            }
        }
    }

    private var photosPicker: some View {
        PhotosPicker("Choose a photograph", selection: $photo, matching: .images)
    }

    @ToolbarContentBuilder private var tools: some ToolbarContent {
        ToolbarItemGroup {
            PhotosPicker(selection: $photo, matching: .images) {
                Label("Choose a photograph", systemImage: "photo.on.rectangle")
            }
            Button("Open a file…", systemImage: "folder") { isImporting = true }
            Button("Undo", systemImage: "arrow.uturn.backward") { session.undo() }
                .disabled(!session.canUndo)
                .keyboardShortcut("z")
            Button("Redo", systemImage: "arrow.uturn.forward") { session.redo() }
                .disabled(!session.canRedo)
                .keyboardShortcut("z", modifiers: [.command, .shift])
            Button("Clear", systemImage: "xmark.circle") { session.clear() }
                .disabled(session.prompt.isEmpty)
            if let picture = session.picture, let mask = session.mask, mask.area > 0 {
                ShareLink(
                    item: CutOutFile(picture: picture, mask: mask),
                    preview: SharePreview("Cut-out"))
            }
        }
    }

    private var footer: some View {
        VStack {
            if let message = session.message {
                Label(message, systemImage: "exclamationmark.triangle")
                    .onTapGesture { session.dismissMessage() }
                    .accessibilityHint("Dismisses the message")
            }
            if session.phase == .encoding { ProgressView("Preparing the picture…") }
            if session.readings.count > 1 { ReadingsView(session: session) }
            Picker("Tool", selection: $session.tool) {
                Label("Object", systemImage: "plus.circle").tag(Tool.object)
                Label("Not the object", systemImage: "minus.circle").tag(Tool.beside)
                Label("Box", systemImage: "rectangle.dashed").tag(Tool.box)
            }
            .pickerStyle(.segmented)
            .labelsHidden()
        }
        .padding()
        .background(.bar)
    }

    private func open(_ data: Data) {
        Task {
            do {
                session.open(try await Task.detached { try Pictures.decode(data) }.value)
            } catch {
                session.report(error)
            }
        }
    }

    private func open(_ item: PhotosPickerItem?) async {
        do {
            if let data = try await item?.loadTransferable(type: Data.self) { open(data) }
        } catch {
            session.report(error)
        }
    }

    private func open(_ result: Result<URL, any Error>) {
        do {
            let url = try result.get()
            let isScoped = url.startAccessingSecurityScopedResource()
            defer { if isScoped { url.stopAccessingSecurityScopedResource() } }
            open(try Data(contentsOf: url))
        } catch {
            session.report(error)
        }
    }
}

/// The readings of a single point, to choose from.
struct ReadingsView: View {
    let session: SegmentationSession

    var body: some View {
        HStack {
            ForEach(session.readings.indices, id: \.self) { i in
                let score = session.readings[i].score
                Button(score.formatted(.percent.precision(.fractionLength(0)))) {
                    session.choose(i)
                }
                .buttonStyle(.bordered)
                .tint(i == session.choice ? .accentColor : .secondary)
                .accessibilityLabel("Reading \(i + 1) of \(session.readings.count)")
                .accessibilityAddTraits(i == session.choice ? .isSelected : [])
            }
        }
    }
}

/// The cut-out as a file to share or save, which is made when it is needed.
struct CutOutFile: Transferable {
    let picture: RGBImage
    let mask: Mask

    static var transferRepresentation: some TransferRepresentation {
        DataRepresentation(exportedContentType: .png) { file in
            Layer.cutOut(of: file.picture, mask: file.mask)?.png ?? Data()
        }
        .suggestedFileName("cut-out.png")
    }
}
