//! `DOM` and `CSS`: nodes and where they are.

use crate::command::{Nothing, commands, objects};

/// Four corners, x and y in turn, in CSS pixels of the session's viewport.
pub type Quad = Vec<f64>;

commands! {
    /// Switches the domain on; `CSS.enable` asks for it.
    Enable = "DOM.enable" -> Nothing {}

    /// A handle to a node.
    ResolveNode = "DOM.resolveNode" -> Resolved {
        /// The node.
        backend_node_id: i64,
        /// The world of the handle.
        #[serde(skip_serializing_if = "Option::is_none")]
        execution_context_id: Option<i64>,
    }

    /// What a node is.
    DescribeNode = "DOM.describeNode" -> Described {
        /// The node.
        object_id: String,
    }

    /// Scrolls all that is needed to bring the node into view.
    ScrollIntoViewIfNeeded = "DOM.scrollIntoViewIfNeeded" -> Nothing {
        /// The node.
        object_id: String,
    }

    /// Where a node is.
    GetContentQuads = "DOM.getContentQuads" -> ContentQuads {
        /// The node.
        object_id: String,
    }

    /// The boxes of a node.
    GetBoxModel = "DOM.getBoxModel" -> BoxModelReply {
        /// The node.
        backend_node_id: i64,
    }

    /// The element that shows a frame, asked in the session around it.
    GetFrameOwner = "DOM.getFrameOwner" -> FrameOwner {
        /// The frame.
        frame_id: String,
    }

    /// Switches the domain on.
    CssEnable = "CSS.enable" -> Nothing {}

    /// An empty style sheet that the page cannot see. Its id names the renderer:
    /// `style-sheet-<pid>-<number>` (`third_party/blink/renderer/core/inspector/inspector_style_sheet.cc`).
    CreateStyleSheet = "CSS.createStyleSheet" -> StyleSheet {
        /// Where.
        frame_id: String,
    }
}

objects! {
    /// The reply to [`ResolveNode`].
    Resolved {
        /// The handle.
        object: super::runtime::RemoteObject,
    }

    /// The reply to [`DescribeNode`].
    Described {
        /// The node.
        node: Node,
    }

    /// A node.
    Node {
        /// For a frame element, the frame that it shows.
        frame_id: Option<String>,
    }

    /// The reply to [`GetContentQuads`].
    ContentQuads {
        /// One for each box that is laid out.
        quads: Vec<Quad>,
    }

    /// The reply to [`GetBoxModel`].
    BoxModelReply {
        /// The boxes.
        model: BoxModel,
    }

    /// The boxes of a node.
    BoxModel {
        /// Inside of padding and border.
        content: Quad,
    }

    /// The reply to [`GetFrameOwner`].
    FrameOwner {
        /// The element.
        backend_node_id: i64,
    }

    /// The reply to [`CreateStyleSheet`].
    StyleSheet {
        /// Its id.
        style_sheet_id: String,
    }
}
