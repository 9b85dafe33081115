"""The arrows: each file takes one value and makes the next. They never import one another.

verb                 file
catalogue            folder_to_catalogue
pair                 catalogue_to_repeats, repeats_to_page
simulate             volume_to_repeats, image_to_repeats
train                repeats_to_samples, samples_to_bundle
denoise              volume_to_denoised; formats.scan loads and saves, medn2n.batch runs a folder
evaluate, report     scans_to_report
"""
