from engines.http.engine import *
