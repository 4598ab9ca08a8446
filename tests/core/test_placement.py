from __future__ import annotations

from kubectl_imagecache.core.demand import Constraints, Demand, ImageUse, MatchExpression, Toleration, Unplaced
from kubectl_imagecache.core.placement import fits, place, pools_for, shape_of
from kubectl_imagecache.core.pools import NodeShape, Taint
from kubectl_imagecache.core.references import parse
from tests.core.factories import pool, use

GPU = Taint("nvidia.com/gpu", "present", "NoSchedule")


def shape(name: str = "pool", taints: tuple[Taint, ...] = (), **labels: str) -> NodeShape:
    return NodeShape(name, frozenset(labels.items()), frozenset(taints))


def expects(key: str, operator: str, *values: str) -> Constraints:
    return Constraints(affinity=((MatchExpression(key, operator, values),),))


def test_a_node_selector_wants_every_label() -> None:
    wants = Constraints(node_selector=frozenset({("a", "1"), ("b", "2")}))
    assert fits(wants, shape(a="1", b="2", c="3"))
    assert not fits(wants, shape(a="1"))


def test_affinity_terms_are_ored_and_expressions_anded() -> None:
    a, b = MatchExpression("a", "In", ("1", "2")), MatchExpression("b", "Exists")
    both = Constraints(affinity=((a, b),))
    either = Constraints(affinity=((a,), (b,)))
    assert not fits(both, shape(a="1"))
    assert fits(both, shape(a="2", b=""))
    assert fits(either, shape(b="x"))
    assert not fits(Constraints(affinity=((),)), shape())


def test_every_operator_reads_as_in_kubernetes() -> None:
    assert fits(expects("a", "NotIn", "1"), shape())
    assert not fits(expects("a", "NotIn", "1"), shape(a="1"))
    assert fits(expects("a", "DoesNotExist"), shape())
    assert not fits(expects("a", "DoesNotExist"), shape(a="1"))
    assert fits(expects("a", "Gt", "5"), shape(a="6"))
    assert not fits(expects("a", "Gt", "6"), shape(a="6"))
    assert fits(expects("a", "Lt", "7"), shape(a="6"))
    assert not fits(expects("a", "Lt", "7"), shape(a="six"))
    assert not fits(expects("a", "Gt"), shape(a="6"))
    assert not fits(expects("a", "Unheard"), shape(a="6"))


def test_taints_repel_unless_tolerated() -> None:
    tainted = shape(taints=(GPU,))
    assert not fits(Constraints(), tainted)
    for toleration in (
        Toleration("nvidia.com/gpu", "Exists"),
        Toleration("nvidia.com/gpu", "Equal", "present", "NoSchedule"),
        Toleration("nvidia.com/gpu", "", "present"),
        Toleration(operator="Exists"),
    ):
        assert fits(Constraints(tolerations=frozenset({toleration})), tainted)
    for toleration in (
        Toleration("nvidia.com/gpu", "Equal", "absent"),
        Toleration("nvidia.com/gpu", "Exists", effect="NoExecute"),
        Toleration("other", "Exists"),
    ):
        assert not fits(Constraints(tolerations=frozenset({toleration})), tainted)


def test_a_preference_repels_nobody() -> None:
    assert fits(Constraints(), shape(taints=(Taint("a", "b", "PreferNoSchedule"),)))


def test_pods_count_for_every_pool_where_they_may_run() -> None:
    shapes = [shape("one", a="1"), shape("two", a="1"), shape("gpu", (GPU,), a="1"), shape("other")]
    assert pools_for(Constraints(node_selector=frozenset({("a", "1")})), shapes) == {"one", "two"}


def test_a_pool_without_nodes_is_judged_by_what_its_nodes_will_carry() -> None:
    wants = Constraints(
        node_selector=frozenset({("cloud.google.com/gke-nodepool", "pool"), ("kubernetes.io/arch", "amd64")})
    )
    assert fits(wants, shape_of(pool()))


def test_waiting_pods_join_the_same_tag_that_runs_and_new_ones_stand_alone() -> None:
    running = use("a:v1", "x", pods=2)
    waiting = Unplaced(Constraints(), (parse("a:v1"), parse("b:v1")), 3)
    template = Unplaced(Constraints(), (parse("b:v1"),), 0, "CronJob default/nightly")
    placed = place({"pool": Demand("pool", (running,))}, [waiting, template], [shape()])
    assert placed == {
        "pool": Demand(
            "pool",
            (
                ImageUse(parse("a:v1"), running.digest, pods=5, nodes=1, pulls=1, waiting=3),
                ImageUse(parse("b:v1"), pods=3, waiting=3, templates=1),
            ),
        )
    }
