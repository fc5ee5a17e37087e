from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from apps.common.described import ON_DISK, Operation, Operations, Query
from apps.common.shapes import (
    CredentialId,
    EventId,
    Moment,
    More,
    OrganizationId,
    ProjectId,
    UserId,
)
from apps.projects import member_shapes
from apps.projects import serializers as ins
from apps.projects.event_views import DEFAULT_EVENTS, MOST_EVENTS, EventsViewSet
from apps.projects.filesystem_views import BrowseView, ReadView
from apps.projects.member_views import InvitationViewSet, MemberViewSet
from apps.projects.views import ProjectsOrderView, ProjectsView, ProjectViewSet

TAG = "Projects"

Mode = Literal["unattended", "ask", "plan"]


class ProjectFacts(TypedDict):
    """The project as everybody has it."""

    id: ProjectId
    name: str
    path: Annotated[str, More(examples=["/home/alice/garden"])]
    organizationId: OrganizationId | None
    ownerId: UserId | None
    credentialId: CredentialId | None
    isGitRepo: bool
    agent: str | None
    model: str | None
    permissionMode: Mode
    baseBranch: str | None
    branchTemplate: str | None
    worktree: bool
    maxParallelAgents: int | None
    setupScript: str | None
    cleanupScript: str | None
    copyFiles: list[str]
    autoCommit: bool
    createdAt: Moment
    updatedAt: Moment


class Project(ProjectFacts):
    """With what is the caller's own: role, place in the list, unread cards."""

    role: Literal["admin", "member"]
    position: int | None
    lastOpenedAt: Moment | None
    unreadCount: int
    activeAgentCount: int


class OwnSettings(TypedDict):
    """What was set in the project itself; null where nothing was."""

    agent: str | None
    model: str | None
    permissionMode: Mode | None
    baseBranch: str | None
    branchTemplate: str | None
    worktree: bool | None
    maxParallelAgents: int | None
    setupScript: str | None
    cleanupScript: str | None
    copyFiles: list[str] | None
    autoCommit: bool | None


class CarriedSettings(TypedDict, total=False):
    agent: str
    model: str
    permissionMode: Mode
    branchTemplate: str
    worktree: bool
    maxParallelAgents: int
    setupScript: str
    cleanupScript: str
    copyFiles: list[str]
    autoCommit: bool


class RepositorySettings(TypedDict):
    """What `.kanban.toml` says in the base branch; those of `needAcceptance` count once it is accepted."""

    commit: str
    hash: str
    accepted: bool
    settings: CarriedSettings
    needAcceptance: list[str]
    ignored: list[str]
    problem: str | None


class SettingsByOrigin(TypedDict):
    """What counts stands in the project."""

    own: OwnSettings
    repository: RepositorySettings | None


class _Member(TypedDict):
    userId: UserId | None
    displayName: str | None
    role: Literal["admin", "member"]
    status: Literal["active", "pending"]
    isOwner: bool
    createdAt: Moment


class ProjectMember(_Member):
    """A pending one is an invitation, which has no user yet."""

    email: str


class NewMember(ProjectMember):
    """Of an invitation, with the code that its guest registers with; it is shown this once."""

    inviteCode: NotRequired[str]


class DirectoryEntry(TypedDict):
    name: str
    path: str
    type: Literal["directory", "file"]
    isGitRepo: bool


class Directory(TypedDict):
    path: str
    parent: str | None
    entries: list[DirectoryEntry]
    truncated: bool


class TextFile(TypedDict):
    path: str
    content: str
    size: int
    truncated: bool


class Actor(TypedDict):
    """`displayName` is null for somebody who was removed."""

    id: UserId
    displayName: str | None


class StoredEvent(TypedDict):
    """`data` is as `/api/events/schema` says for the type; no `actor` is the server itself."""

    id: EventId
    seq: int
    epoch: str
    type: Annotated[str, More(examples=["card.created"])]
    actor: Actor | None
    createdAt: Moment
    data: dict[str, Any]


class ProjectUpdatedEvent(ProjectFacts):
    projectId: ProjectId


class ProjectDeletedEvent(TypedDict):
    """`patches` are where work is saved that only its cards' worktrees held."""

    id: ProjectId
    projectId: ProjectId
    patches: list[str]


class MemberEvent(_Member):
    """`email` is null for whoever comes with a personal token."""

    email: str | None
    projectId: ProjectId


OPERATIONS: Operations = {
    ProjectsView: {
        "get": Operation(
            "Projects that I reach",
            [Project],
            query={"organizationId": Query.id("organization", "Only those of this organization.")},
            etag=True,
        ),
        "post": Operation(
            "Make a project of a directory",
            Project,
            ins.CreateProjectInput,
            status=201,
            conflicts=("path_taken",),
            errors={
                403: "The directory lies outside of those that may be used.",
                404: "There is no such organization.",
            },
        ),
    },
    ProjectsOrderView: {
        "patch": Operation("Put my projects into another order", [Project], ins.ReorderInput)
    },
    ProjectViewSet: {
        "retrieve": Operation("One project", Project, etag=True),
        "partial_update": Operation("Change a project's settings", Project, ins.UpdateProjectInput),
        "destroy": Operation("Delete a project with all that is in it"),
        "last_opened": Operation("Note that I have opened it"),
        "files": Operation("Files that git tracks", list[str], conflicts=ON_DISK, etag=True),
        "settings_by_origin": Operation(
            "Where a project's settings come from", SettingsByOrigin, conflicts=ON_DISK, etag=True
        ),
        "accept_settings": Operation(
            "Accept exactly what the repository says, or take that back",
            SettingsByOrigin,
            ins.AcceptSettingsInput,
            conflicts=(*ON_DISK, "settings_changed", "settings_unusable"),
        ),
        "credential": Operation(
            "Choose the credential of its agents", Project, ins.CredentialInput
        ),
    },
    MemberViewSet: {
        "list": Operation("Its members and those invited", [ProjectMember], etag=True),
        "create": Operation(
            "Add a member, or invite somebody who has no account yet",
            NewMember,
            member_shapes.AddMemberInput,
            status=201,
            conflicts=("already_member",),
        ),
        "partial_update": Operation(
            "Change a member's role",
            ProjectMember,
            member_shapes.UpdateMemberInput,
            conflicts=("project_owner",),
        ),
        "destroy": Operation("Remove a member, or leave", conflicts=("project_owner",)),
    },
    EventsViewSet: {
        "list": Operation(
            "What happened in the project, who did it and when, a page at a time",
            [StoredEvent],
            query={
                "since": Query(str, "What came after this `seq`, or `epoch:seq`; else the latest."),
                "limit": Query(
                    int,
                    f"At most so many, fewer where they are long: {DEFAULT_EVENTS} unless told,"
                    f" {MOST_EVENTS} at most.",
                ),
            },
            conflicts=("resync",),
            etag=True,
        )
    },
    BrowseView: {
        "get": Operation(
            "What is in a directory of the server",
            Directory,
            query={
                "path": Query(str, "Its absolute path; the first that I may see without one."),
                "hidden": Query(bool, "Show hidden ones too."),
            },
            errors={404: "`path_missing`: there is no such directory."},
        )
    },
    ReadView: {
        "get": Operation(
            "Read a text of the server",
            TextFile,
            query={"path": Query(str, "Its absolute path.", required=True)},
            errors={
                404: "`path_missing`: there is no such file.",
                415: "`not_text`: it is no text in UTF-8.",
            },
        )
    },
    InvitationViewSet: {"destroy": Operation("Take an invitation back")},
}

EVENTS = {
    "project.updated": ProjectUpdatedEvent,
    "project.deleted": ProjectDeletedEvent,
    "member.added": MemberEvent,
    "member.updated": MemberEvent,
    "member.removed": MemberEvent,
}
