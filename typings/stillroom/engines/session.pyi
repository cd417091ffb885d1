from engines.session import *
