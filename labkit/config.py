"""What the lab is made of, read from `data/lab.yaml` and the lab's own settings."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, TypedDict, Unpack

import yaml

from labkit.errors import LabError, UsageError
from labkit.paths import DATA, LabHome, lab_home
from labkit.tables import Record

PROVIDERS = ("kwok", "minikube", "existing")
ENGINES = ("auto", "kargo", "kargolite")
PODS = ("process", "simulated")
TRAFFIC = ("steady", "none")
EXTRAS = ("grafana",)

CONTROL_ENVIRONMENT = "dev"
NAMESPACE = "demo-app"
APPLICATION = "demo-app"
PROJECT = "demo-app"
PREVIEW_PROJECT = "demo-app-preview"
PREVIEW = "preview"
HOTFIX = "hotfix"
PRODUCTION = "prod"
WAREHOUSE = "demo-app"
ARGOCD_NAMESPACE = "argocd"
ORGANISATION = "lab"
SOURCE_REPO = "demo-app"
GITOPS_REPO = "gitops"
BOT = "kargo-bot"
GATE_BOT = "gate-bot"
ACCEPTANCE = "acceptance"

# What labkit writes on Promotions and on the ProjectConfig.
REASON = "lab.labkit.dev/reason"
EMERGENCY = "lab.labkit.dev/emergency"
HELD = "lab.labkit.dev/held"
ROLLED_BACK_FROM = "lab.labkit.dev/rolled-back-from"


@dataclass(frozen=True)
class Environment:
    """One of DEV, PRE and PROD: a cluster of its own, with a size."""

    name: str
    colour: str
    purpose: str
    cpu: int
    memory: str
    disk: str
    nodes: int
    upstream: str
    observability: str
    index: int

    @property
    def context(self) -> str:
        """The kubectl context and cluster name."""
        return f"gitops-{self.name}"


@dataclass(frozen=True)
class Destination:
    """Where a Stage deploys to: a namespace of a cluster, by an Application of its Argo CD, from a branch of its own.

    Attributes:
        stage: The Stage; its overlay in the gitops repo is called like it.
        project: The Kargo Project that it belongs to.
        environment: The environment whose cluster it is in.
        namespace: The namespace; the Application is called like it.
        colour: Its colour in charts; of an environment's own Stage, the environment's.
        sources: The Stages that it takes Freight from; none where it takes it from the Warehouse.
    """

    stage: str
    project: str
    environment: Environment
    namespace: str
    colour: str
    sources: tuple[str, ...]

    @property
    def application(self) -> str:
        """The Application."""
        return self.namespace

    @property
    def branch(self) -> str:
        """The branch of the gitops repo that holds what was promoted here."""
        return f"stage/{self.stage}"

    @property
    def main(self) -> bool:
        """Whether it is what the environment is there for: a place in the main line."""
        return self.stage == self.environment.name


@dataclass(frozen=True)
class Release:
    """One release of the demo app: a version for each tier, and how far `labkit deploy` promotes it."""

    versions: Mapping[str, str]
    promoted_to: str


@dataclass(frozen=True)
class Limits:
    """Time-outs in seconds, sizes in GiB."""

    memory_gib: int
    disk_gib: int
    cache_gib: int
    cluster_seconds: int
    service_seconds: int
    promotion_seconds: int
    build_seconds: int
    install_seconds: int


@dataclass(frozen=True)
class MinikubeRules:
    """How minikube makes clusters.

    Attributes:
        kubernetes: The version of Kubernetes.
        least_cpus: Of a node.
        least_memory: Of a node, as Kubernetes writes it.
        drivers: Drivers that can put the clusters on one network, and the command that says whether one is there.
        start_seconds: How long a cluster's start may take.
    """

    kubernetes: str
    least_cpus: int
    least_memory: str
    drivers: Mapping[str, tuple[str, ...]]
    start_seconds: int


@dataclass(frozen=True)
class BackOff:
    """Pauses between tries, in seconds: each is twice the one before, up to the longest."""

    first_seconds: float
    longest_seconds: float


@dataclass(frozen=True)
class PodRules:
    """How pods that run as processes are treated.

    Attributes:
        restarts: The pauses between restarts of a container.
        pulls: The pauses between pulls of an image.
        log_bytes: The size at which a container's log is rotated.
        volumes: How many persistent volumes each cluster has.
        volume_size: The size of each, as Kubernetes writes it.
    """

    restarts: BackOff
    pulls: BackOff
    log_bytes: int
    volumes: int
    volume_size: str


@dataclass(frozen=True)
class Traffic:
    """What people do with an environment's demo app all the time.

    Attributes:
        requests_per_second: How often somebody asks for something, on average.
        customers: The names that orders are placed under.
    """

    requests_per_second: float
    customers: tuple[str, ...]


@dataclass(frozen=True)
class Pager:
    """Who is called for a page, and who next, after how many seconds without an answer."""

    on_call: tuple[str, ...]
    escalate_seconds: float


@dataclass(frozen=True)
class Existing:
    """Clusters that are there already.

    Attributes:
        kubeconfig: The file with their contexts.
        contexts: For each environment its context in that file.
        servers: For an environment the address that pods of gitops-dev reach its API server at, where it is not the
            kubeconfig's.
        confirmed: Contexts that the lab may be installed into though they look like somebody's production.
    """

    kubeconfig: str = ""
    contexts: Mapping[str, str] = field(default_factory=dict)
    servers: Mapping[str, str] = field(default_factory=dict)
    confirmed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Minikube:
    """Clusters that minikube makes.

    Attributes:
        driver: minikube's driver; empty where minikube chooses.
        scale: What the sizes of the environments are multiplied with.
    """

    driver: str = ""
    scale: float = 1.0


@dataclass(frozen=True)
class Settings:
    """What was chosen when a lab was created; kept in `$LABKIT_HOME/lab.yaml`.

    `extras` and `existing.confirmed` may be added to later. `without` names what is not installed into clusters that
    are not embedded.
    """

    provider: str
    port_base: int
    kargo: str
    pods: str
    traffic: str
    extras: tuple[str, ...] = ()
    existing: Existing = field(default_factory=Existing)
    minikube: Minikube = field(default_factory=Minikube)
    without: tuple[str, ...] = ()

    @property
    def in_cluster(self) -> bool:
        """Whether everything is installed into the clusters, rather than run beside them on this machine."""
        return self.provider != "kwok"


class Choices(TypedDict, total=False):
    """What may be chosen for a lab that is created; None leaves it to the environment and the defaults.

    Attributes:
        provider: Which kind of clusters.
        port_base: The first of the lab's ports.
        kargo: Which Kargo engine (`auto`, `kargo` or `kargolite`).
        pods: Whether pods that ask for it run as processes (`process`), or all are simulated (`simulated`).
        traffic: Whether there is traffic to the demo app (`steady` or `none`).
        extras: What the lab has that not every lab has (`grafana`); added to what it has of them.
        existing: The clusters that are there already.
        minikube: How minikube makes clusters.
        without: What is not installed into clusters that are not embedded.
        confirmed: Contexts that are confirmed; added to those that were before.
    """

    provider: str | None
    port_base: int | None
    kargo: str | None
    pods: str | None
    traffic: str | None
    extras: tuple[str, ...] | None
    existing: Existing | None
    minikube: Minikube | None
    without: tuple[str, ...] | None
    confirmed: tuple[str, ...] | None


@dataclass(frozen=True, repr=False)
class Lab(Record):
    """One lab: its folder, what was chosen for it, and what every lab is made of."""

    home: LabHome
    settings: Settings
    environments: tuple[Environment, ...]
    tiers: tuple[str, ...]
    releases: tuple[Release, ...]
    people: Mapping[str, str]
    limits: Limits
    minikube: MinikubeRules
    pods: PodRules
    acceptance: str
    traffic: Mapping[str, Traffic]
    pager: Pager
    _more_stages: tuple[Mapping[str, str], ...]
    _ports: Mapping[str, int]
    _environment_ports: Mapping[str, int]
    _stride: int

    def _lines(self) -> list[tuple[str, str]]:
        """What was chosen, and what it is made of; the rest is data that all labs share."""
        every = ("provider", "port_base", "kargo", "pods", "traffic")
        chosen = [(name, str(getattr(self.settings, name))) for name in every]
        more = {"with": self.settings.extras, "without": self.settings.without}
        extras = [(name, ", ".join(items)) for name, items in more.items() if items]
        contexts = ", ".join(f"{name} {context}" for name, context in self.settings.existing.contexts.items())
        extras += [("contexts", contexts)] if contexts else []
        clusters = ", ".join(environment.context for environment in self.environments)
        made = "made" if self.home.is_lab else "not made yet"
        named = [(name.replace("_", " "), value) for name, value in chosen]
        return [("home", f"{self.home.root} ({made})"), *named, *extras, ("clusters", clusters)]

    def environment(self, name: str) -> Environment:
        """The environment of that name (`dev`, `pre`, `prod`).

        Raises:
            UsageError: There is none.
        """
        for environment in self.environments:
            if environment.name == name:
                return environment
        known = ", ".join(environment.name for environment in self.environments)
        raise UsageError(f"There is no environment {name!r}", todo=f"use one of: {known}")

    def assert_embedded(self, what: str) -> None:
        """Refuse what needs the lab's own services on this machine.

        Args:
            what: What needs them, within a sentence.

        Raises:
            LabError: The lab's clusters are not embedded.
        """
        if self.settings.in_cluster:
            raise LabError(
                f"With provider {self.settings.provider!r} there is no {what}",
                seen="what serves the lab runs inside its clusters, and labkit does not deliver through it yet",
                todo="`labkit setup`, `labkit status` and `labkit uninstall` are what works there",
            )

    @property
    def control(self) -> Environment:
        """The environment whose cluster carries Kargo."""
        return self.environment(CONTROL_ENVIRONMENT)

    @property
    def destinations(self) -> tuple[Destination, ...]:
        """Where each Stage deploys to: the environments' own in their order, then the others."""
        main = [
            Destination(
                stage=environment.name,
                project=PROJECT,
                environment=environment,
                namespace=NAMESPACE,
                colour=environment.colour,
                sources=tuple(
                    filter(
                        None,
                        (
                            environment.upstream,
                            *(item["name"] for item in self._more_stages if item["feeds"] == environment.name),
                        ),
                    )
                ),
            )
            for environment in self.environments
        ]
        others = [
            Destination(
                stage=item["name"],
                project=item["project"],
                environment=self.environment(item["environment"]),
                namespace=f"{NAMESPACE}-{item['name']}",
                colour=item["colour"],
                sources=(),
            )
            for item in self._more_stages
        ]
        return (*main, *others)

    def destination(self, stage: str) -> Destination:
        """Where a Stage deploys to.

        Raises:
            UsageError: The lab has no such Stage.
        """
        for destination in self.destinations:
            if destination.stage == stage:
                return destination
        known = ", ".join(destination.stage for destination in self.destinations)
        raise UsageError(f"There is no Stage {stage!r}", todo=f"use one of: {known}")

    def project_of(self, stage: str) -> str:
        """The Kargo Project that a Stage belongs to; the lab's main one, where it is none of the lab's own Stages."""
        return next((item.project for item in self.destinations if item.stage == stage), PROJECT)

    def port(self, name: str, environment: Environment | None = None) -> int:
        """The port of a service, or of an environment's service."""
        if environment is None:
            return self.settings.port_base + self._ports[name]
        first = self._stride * (environment.index + 1)
        return self.settings.port_base + first + self._environment_ports[name]

    @property
    def port_range(self) -> range:
        """All ports that this lab may use."""
        size = self._stride * (len(self.environments) + 1)
        return range(self.settings.port_base, self.settings.port_base + size)

    @property
    def ports(self) -> dict[str, int]:
        """All ports of the lab, by what they are for."""
        shared = {name: self.port(name) for name in self._ports}
        return {
            **shared,
            **{name: port for item in self.environments for name, port in self.environment_ports(item, "").items()},
        }

    def environment_ports(self, environment: Environment, *prefixes: str) -> dict[str, int]:
        """An environment's ports whose name starts with one of `prefixes`."""
        return {
            f"{name} of {environment.context}": self.port(name, environment)
            for name in self._environment_ports
            if name.startswith(prefixes)
        }

    @property
    def gitea_url(self) -> str:
        """Gitea's address, without a slash at the end."""
        return f"http://{self.registry}"

    @property
    def registry(self) -> str:
        """Host and port of the image registry (Gitea's)."""
        self.assert_embedded("Gitea on this machine")
        return f"127.0.0.1:{self.port('gitea')}"

    def image(self, tier: str) -> str:
        """The image repository of a tier, or of the acceptance tests."""
        return f"{self.registry}/{ORGANISATION}/{tier}"

    @property
    def acceptance_image(self) -> str:
        """The image with the acceptance tests."""
        return f"{self.image(ACCEPTANCE)}:{self.acceptance}"

    def app_port(self, destination: Destination) -> int:
        """The port of the demo app's page where a Stage deploys to."""
        return self.port("app" if destination.main else f"app-{destination.stage}", destination.environment)

    def app_url(self, stage: str) -> str:
        """The demo app's page where a Stage deploys to, without a slash at the end."""
        return f"http://127.0.0.1:{self.app_port(self.destination(stage))}"

    def database_url(self, environment: Environment) -> str:
        """The demo app's database in an environment, without a slash at the end."""
        return f"http://127.0.0.1:{self.port('database', environment)}"

    def repo_url(self, repo: str) -> str:
        """The clone address of one of the lab's repos."""
        return f"{self.gitea_url}/{ORGANISATION}/{repo}.git"


@cache
def _data() -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load((DATA / "lab.yaml").read_text())
    return data


def _checked(settings: Settings, source: str) -> Settings:
    for name, value, known in (
        ("provider", settings.provider, PROVIDERS),
        ("LABKIT_KARGO", settings.kargo, ENGINES),
        ("LABKIT_PODS", settings.pods, PODS),
        ("LABKIT_TRAFFIC", settings.traffic, TRAFFIC),
        *(("LABKIT_WITH", extra, EXTRAS) for extra in settings.extras),
    ):
        if value not in known:
            raise UsageError(f"{source}: {name} {value!r} is not known", todo=f"use one of: {', '.join(known)}")
    if not 1024 <= settings.port_base <= 65000:
        raise UsageError(f"{source}: port base {settings.port_base} is not between 1024 and 65000")
    if settings.in_cluster and settings.kargo == "kargolite":
        raise UsageError(
            f"{source}: kargolite runs beside embedded clusters only, not with provider {settings.provider!r}",
            todo="set LABKIT_KARGO=auto: Kargo is installed from its chart",
        )
    if settings.provider == "existing":
        _check_contexts(settings.existing, source)
    if not 0 < settings.minikube.scale <= 4:
        raise UsageError(f"{source}: scale {settings.minikube.scale:g} is not between 0 and 4")
    return settings


def _check_contexts(existing: Existing, source: str) -> None:
    names = [item["name"] for item in _data()["environments"]]
    todo = "`labkit init --provider existing " + " ".join(f"--context {name}=CONTEXT" for name in names) + "`"
    missing = [name for name in names if name not in existing.contexts]
    if missing:
        raise UsageError(f"{source}: provider 'existing' needs a context for {', '.join(missing)}", todo=todo)
    unknown = sorted({*existing.contexts, *existing.servers} - set(names))
    if unknown:
        raise UsageError(f"{source}: there is no environment {', '.join(unknown)}", todo=todo)
    if len(set(existing.contexts.values())) < len(names):
        raise UsageError(
            f"{source}: each environment needs a cluster of its own",
            seen=", ".join(f"{name}={context}" for name, context in existing.contexts.items()),
            todo=todo,
        )


def _text_mapping(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(text, str) for item in value.items() for text in item):
        raise TypeError(f"{value!r} is not names with texts")
    return value


def _existing(values: Mapping[str, Any]) -> Existing:
    found = Existing(**values)
    return replace(
        found,
        contexts=_text_mapping(found.contexts),
        servers=_text_mapping(found.servers),
        confirmed=tuple(found.confirmed),
    )


def _asked_by_environment() -> dict[str, Any]:
    port_base = os.environ.get("LABKIT_PORT_BASE", "")
    if port_base and not port_base.isdecimal():
        raise UsageError(f"LABKIT_PORT_BASE is {port_base!r}", todo="give a number, such as 17300")
    asked = {
        "provider": os.environ.get("LABKIT_PROVIDER"),
        "port_base": int(port_base) if port_base else None,
        "kargo": os.environ.get("LABKIT_KARGO"),
        "pods": os.environ.get("LABKIT_PODS"),
        "traffic": os.environ.get("LABKIT_TRAFFIC"),
        "extras": tuple(os.environ.get("LABKIT_WITH", "").replace(",", " ").split()),
    }
    return {key: value for key, value in asked.items() if value}


def _required() -> list[Field[Any]]:
    return [item for item in fields(Settings) if item.default is MISSING and item.default_factory is MISSING]


def load_settings(home: LabHome) -> Settings:
    """The lab's settings: those it was created with, else the environment's, else the defaults."""
    if home.is_lab:
        try:
            values = yaml.safe_load(home.settings.read_bytes())
            if type(values["port_base"]) is not int:
                raise TypeError(f"port_base is {values['port_base']!r}, not a number")
            read = {
                "extras": tuple(values.get("extras", ())),
                "existing": _existing(values.get("existing", {})),
                "minikube": Minikube(**values.get("minikube", {})),
                "without": tuple(values.get("without", ())),
            }
            return _checked(Settings(**{**values, **read}), str(home.settings))
        except (TypeError, ValueError, KeyError, yaml.YAMLError) as error:
            raise LabError(
                f"{home.settings} is not the settings of a lab",
                seen=str(error),
                todo=f"give it the lines {', '.join(f'`{item.name}: …`' for item in _required())}",
            ) from error
    defaults = Settings(provider="kwok", port_base=_data()["portBase"], kargo="auto", pods="process", traffic="steady")
    return _checked(replace(defaults, **_asked_by_environment()), "The environment")


def asked_for(lab: Lab, **choices: Unpack[Choices]) -> Lab:
    """The lab with these settings; nothing is kept yet.

    Args:
        lab: The lab.
        **choices: What is asked for; the rest stays.

    Raises:
        UsageError: A value is not known, or differs from what the existing lab was created with (extras and
            confirmed contexts may be added); or the folder can be no lab's.
    """
    if lab.home.objection:
        raise UsageError(
            f"{lab.home.root} cannot be a lab's folder: it {lab.home.objection}",
            todo="set LABKIT_HOME to a folder of the lab's own",
        )
    given: dict[str, Any] = {key: value for key, value in choices.items() if value is not None}
    by_environment = _asked_by_environment()
    asked = {**by_environment, **given}
    extras = (*lab.settings.extras, *by_environment.get("extras", ()), *given.get("extras", ()))
    asked["extras"] = tuple(dict.fromkeys(extras))
    confirmed = (*lab.settings.existing.confirmed, *asked.pop("confirmed", ()))
    asked["existing"] = replace(asked.get("existing", lab.settings.existing), confirmed=tuple(dict.fromkeys(confirmed)))
    wanted = _checked(replace(lab.settings, **asked), "Your choice")
    if lab.home.is_lab and _fixed(wanted) != _fixed(lab.settings):
        raise UsageError(
            f"The lab in {lab.home.root} was created with {lab.settings}",
            seen=f"asked for {wanted}",
            todo="`labkit down --purge` first, or set LABKIT_HOME to another folder",
        )
    return replace(lab, settings=wanted)


def _fixed(settings: Settings) -> Settings:
    """What cannot be chosen anew for a lab that is there."""
    return replace(settings, extras=(), existing=replace(settings.existing, confirmed=()))


def choose(lab: Lab, **choices: Unpack[Choices]) -> Lab:
    """Fix a lab's settings, and keep them in its folder: from then on there is a lab.

    Args:
        lab: The lab.
        **choices: What is asked for; the rest stays.

    Raises:
        UsageError: See `asked_for`.
    """
    lab = asked_for(lab, **choices)
    if not lab.home.is_lab or lab.settings != load_settings(lab.home):
        settings = lab.home.ensure().settings
        new = settings.with_suffix(".new")
        new.write_text(yaml.safe_dump(asdict(lab.settings), sort_keys=False))
        new.replace(settings)
    return lab


def _back_off(data: Mapping[str, float]) -> BackOff:
    return BackOff(data["firstSeconds"], data["longestSeconds"])


def load_lab(home: LabHome | str | Path | None = None) -> Lab:
    """The lab in `$LABKIT_HOME` (or another folder), whether it runs or not."""
    if not isinstance(home, LabHome):
        home = LabHome(Path(home).expanduser().resolve()) if home else lab_home()
    data = _data()
    limits = data["limits"]
    return Lab(
        home=home,
        settings=load_settings(home),
        environments=tuple(Environment(index=index, **values) for index, values in enumerate(data["environments"])),
        tiers=tuple(data["tiers"]),
        releases=tuple(Release(item["versions"], item["promotedTo"]) for item in data["releases"]),
        people=data["people"],
        limits=Limits(
            memory_gib=limits["memoryGiB"],
            disk_gib=limits["diskGiB"],
            cache_gib=limits["cacheGiB"],
            cluster_seconds=limits["clusterSeconds"],
            service_seconds=limits["serviceSeconds"],
            promotion_seconds=limits["promotionSeconds"],
            build_seconds=limits["buildSeconds"],
            install_seconds=limits["installSeconds"],
        ),
        minikube=MinikubeRules(
            kubernetes=data["minikube"]["kubernetes"],
            least_cpus=data["minikube"]["leastCpus"],
            least_memory=data["minikube"]["leastMemory"],
            drivers={name: tuple(command) for name, command in data["minikube"]["drivers"].items()},
            start_seconds=data["minikube"]["startSeconds"],
        ),
        pods=PodRules(
            restarts=_back_off(data["pods"]["restartBackOff"]),
            pulls=_back_off(data["pods"]["pullBackOff"]),
            log_bytes=data["pods"]["logBytes"],
            volumes=data["pods"]["volumes"]["count"],
            volume_size=data["pods"]["volumes"]["size"],
        ),
        acceptance=data["acceptance"],
        traffic={
            name: Traffic(item["requestsPerSecond"], tuple(item["customers"])) for name, item in data["traffic"].items()
        },
        pager=Pager(tuple(data["pager"]["onCall"]), data["pager"]["escalateSeconds"]),
        _more_stages=tuple(data["stages"]),
        _ports=data["ports"],
        _environment_ports=data["environmentPorts"],
        _stride=data["environmentPortStride"],
    )
