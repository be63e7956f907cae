"""Jobs that outlive their connection and their process: paid ones, those with an idempotency key, background jobs.

::

    HTTP ──enter──▶ row in the database, files in the data folder ──▶ workflow ──▶ gateway ──▶ response in the row
          ◀──wait──                                                    ▲
                                         another gateway, or the next process, after a crash
"""
