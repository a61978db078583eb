"""The dispatcher under thousands of simulated fault schedules, and how well it uses its runners."""

from tests.faults.simulator import main

if __name__ == "__main__":
    main()
