"""The lab: tasks, runs and reports that measure compression where it is used."""
