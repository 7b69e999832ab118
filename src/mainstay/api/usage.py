"""`GET /admin/v1/usage`: what was used, by whom, of what, when."""



