from engines.metered import *
