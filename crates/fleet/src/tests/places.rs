//! Where the exits are, and what is known of places that nobody is at any more.

use outgate_store::Labels;

use super::{country, enter, exit, fleet, labels, pool, random, wanted};
use crate::{Census, Terms, Wanted};

#[test]
fn an_exit_is_where_its_newest_link_says() {
    let fleet = fleet();
    let old = enter(&fleet, 0, &labels("de", "be", "berlin"), Terms::default(), 0);
    enter(&fleet, 0, &labels("us", "ca", "losangeles"), Terms::default(), 1);
    let pick = |wanted: &Wanted| fleet.pick(&pool(), wanted, None, &[], 2, &mut random(1)).ok().map(|pick| pick.lease);
    assert!(pick(&wanted("de", "", "")).is_none());
    for _ in 0..20 {
        let lease = pick(&wanted("us", "ca", "losangeles")).unwrap();
        assert_eq!(lease.link().labels.country, Some(country("us")), "never through the old link");
    }
    fleet.leave(&pool(), &exit(0), old, 3);
    assert!(pick(&wanted("us", "", "")).is_some());
    fleet.audit();
}

#[test]
fn census_and_offers() {
    let fleet = fleet();
    let la = enter(&fleet, 0, &labels("us", "ca", "losangeles"), Terms::default(), 0);
    enter(&fleet, 1, &labels("us", "ca", "losangeles"), Terms::default(), 0);
    let ny = enter(&fleet, 2, &labels("us", "ny", "newyork"), Terms::default(), 0);
    enter(&fleet, 3, &labels("de", "", ""), Terms::default(), 0);
    enter(&fleet, 4, &Labels::default(), Terms { draining: true, ..Terms::default() }, 0);
    let row = |labels: Labels, exits| {
        let Labels { country, state, city, .. } = labels;
        Census { pool: pool(), country, state, city, exits }
    };
    let all = [
        row(labels("", "", ""), 1),
        row(labels("de", "", ""), 1),
        row(labels("us", "ca", "losangeles"), 2),
        row(labels("us", "ny", "newyork"), 1),
    ];
    assert_eq!(fleet.census(), all);
    fleet.leave(&pool(), &exit(2), ny, 1);
    fleet.leave(&pool(), &exit(0), la, 1);
    assert_eq!(fleet.census(), [&all[..2], &[row(labels("us", "ca", "losangeles"), 1)]].concat());
    fleet.audit();
}

#[test]
fn an_exit_that_renames_itself_for_ever_fills_nothing() {
    let fleet = fleet();
    for n in 0..50_000u64 {
        enter(&fleet, 0, &labels("de", &format!("state{n}"), &format!("city{n}")), Terms::default(), n);
    }
    let (places, names) = fleet.places(&pool());
    assert!(places == 6 && names <= 2_002, "{places} places, {names} names");
    fleet.audit();
    assert!(fleet.pick(&pool(), &wanted("de", "", "city49999"), None, &[], 0, &mut random(1)).is_ok());
}

#[test]
fn countries_of_a_plan() {
    let fleet = fleet();
    let sizes = [("de", 10), ("fr", 30), ("us", 60)];
    let mut n = 0;
    for (code, count) in sizes {
        for _ in 0..count {
            enter(&fleet, n, &labels(code, "", "x"), Terms::default(), 0);
            n += 1;
        }
    }
    let of_plan = |codes: &[&str]| Wanted { countries: codes.iter().map(|c| country(c)).collect(), ..Wanted::default() };
    let mut random = random(1);
    let mut taken = [0; 3];
    for _ in 0..8_000 {
        let lease = fleet.pick(&pool(), &of_plan(&["fr", "de", "at"]), None, &[], 0, &mut random).ok().unwrap().lease;
        let code = lease.link().labels.country.unwrap();
        taken[sizes.iter().position(|(known, _)| code == country(known)).unwrap()] += 1;
    }
    assert!(taken[2] == 0 && (1_700..2_300).contains(&taken[0]), "in proportion to their size: {taken:?}");
    let mut none = |wanted: &Wanted| fleet.pick(&pool(), wanted, None, &[], 0, &mut random).is_err();
    assert!(none(&of_plan(&["at"])) && none(&Wanted { country: Some(country("us")), ..of_plan(&["de"]) }));
    let city = Wanted { city: Some("x".into()), ..of_plan(&["de"]) };
    for _ in 0..200 {
        let lease = fleet.pick(&pool(), &city, None, &[], 0, &mut super::random(3)).ok().unwrap().lease;
        assert_eq!(lease.link().labels.country, Some(country("de")));
    }
    // Those of one country are full: another of the plan's is taken.
    let mut held = Vec::new();
    for n in 0..10 {
        fleet.agree(&exit(n), Terms { max_tunnels: Some(0), ..Terms::default() }, 0);
    }
    for _ in 0..100 {
        held.push(fleet.pick(&pool(), &of_plan(&["de", "fr"]), None, &[], 0, &mut super::random(4)).ok().unwrap());
    }
    assert!(held.iter().all(|pick| pick.lease.link().labels.country == Some(country("fr"))));
}
