"""The door to statuses: only these modules write a ``status`` or a ``phase`` (``tests/test_architecture.py``).

===================  =================================================================================================
module               moves
===================  =================================================================================================
``new_runs``         none -> PENDING, with stage runs that are blocked, ready, or COMPLETED by results of another run
``claims``           run PENDING -> RUNNING; stage run ready -> claimed
``cache_hits``       claimed -> COMPLETED by the results of an earlier execution
``attempt_reports``  claimed -> running -> collecting -> COMPLETED; active -> ready (retry), FAILED or CANCELLED
``losses``           active -> ready (retry) or FAILED, for an attempt whose host no longer reports
``unschedulable``    ready -> FAILED, for a stage run that no worker is large enough for
``stop_requests``    blocked and ready -> CANCELLED; active ones are asked to stop
``consequences``     of a stage run's end: blocked -> ready or SKIPPED; run -> COMPLETED, FAILED or CANCELLED
===================  =================================================================================================

All of these but ``new_runs`` make their moves through a ``run_transaction``, which locks the run, compares each row
with the move's start, and writes the move with its event. ``mirrors`` copies the newest run's statuses to its pipeline
and stages. ``attempt_records``, ``outputs`` and ``results`` write the attempts, artifacts and results of a move.
"""
