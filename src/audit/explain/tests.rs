mod bank;
mod chart;
mod recorded;
mod reports;
