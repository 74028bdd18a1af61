"""Second station: may this client ask, and do we answer this name ourselves?"""
