//! One run, killed or whole.

mod crashes_at_each_call;
mod crashes_at_random;
mod facts_first;
mod faults_at_each_call;
mod first_run;
mod kills;
mod kills_with_facts_first;
mod left_half_way;
mod lifecycle;
