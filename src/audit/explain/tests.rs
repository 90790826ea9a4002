mod bank;
mod recorded;
mod reports;
